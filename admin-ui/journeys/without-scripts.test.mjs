import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, open, ours, signIn, today } from "./portal.mjs";

test("the whole task works without scripts, on a narrow screen", async () => {
  const browser = await launch();
  try {
    const { page } = await open(browser, { javaScriptEnabled: false, viewport: { width: 360, height: 740 } });
    await signIn(page, ours, "caseworker");
    await page.getByText("Likely positive").click();
    await page.getByLabel("Test taken").fill(today().iso);
    const telephone = page.getByRole("textbox", { name: /Mobile telephone number/ });
    if (await telephone.count()) {
      await telephone.fill("+1 206 555 0142");
    }
    const form = await page.locator("input[name=code_id]").inputValue();
    await page.getByRole("button", { name: "Issue code" }).click();

    assert.equal(await page.locator("h1").textContent(), "Verification code issued");
    assert.match((await page.locator(".code__group").allTextContents()).join(" "), /^\d{4} \d{4}$/);
    assert.match(await page.locator(".code__expires").textContent(), /Works for 15 minutes, until\s+(.*, )?\d\d:\d\d UTC/);
    assert.equal(await page.getByRole("button", { name: "Copy code" }).count(), 0, "no buttons that do nothing");
    assert.equal(await page.locator(".facts .id").textContent(), form);

    await page.getByRole("link", { name: "See whether it was used" }).click();
    assert.equal(await page.locator("#result").textContent(), "Not used yet");
    await page.getByRole("link", { name: "Issue a code" }).click();
    assert.notEqual(await page.locator("input[name=code_id]").inputValue(), form, "a new form makes a new code");
    await page.getByRole("button", { name: "Sign out" }).click();
    assert.equal(await page.locator("h1").textContent(), "You have signed out");
  } finally {
    await browser.close();
  }
});

test("a form that is sent twice makes one code", async () => {
  const browser = await launch();
  try {
    const { page } = await open(browser, { javaScriptEnabled: false });
    await signIn(page, ours, "caseworker");
    await page.getByText("Confirmed positive").click();
    await page.getByLabel("Test taken").fill(today().iso);
    await page.getByRole("button", { name: "Issue code" }).click();
    assert.equal(await page.locator("h1").textContent(), "Verification code issued");
    await page.reload(); // sends the form again
    assert.equal(await page.locator("h1").textContent(), "This form was sent before");
    await page.getByRole("link", { name: "End this code" }).click();
    await page.getByRole("button", { name: "End the code now" }).click();
    assert.equal(await page.locator("#result").textContent(), "Expired");
  } finally {
    await browser.close();
  }
});
