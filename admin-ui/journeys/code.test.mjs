import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, signIn, today } from "./portal.mjs";

async function issue(page) {
  await signIn(page, ours, "caseworker");
  await page.getByText("Confirmed positive").click();
  await page.getByLabel("Test taken").fill(today().iso);
  await page.getByRole("button", { name: "Issue code" }).click();
  await page.locator(".code__digits").waitFor();
}

/** What a phone does with a code that somebody entered. */
async function tryCode(code) {
  const answer = await fetch(`${ours.deviceBase}api/verify`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-API-Key": ours.deviceKey },
    body: JSON.stringify({ code, accept: ["confirmed"], padding: "" }),
  });
  return answer.status;
}

test("a code goes by e-mail to an address that is not kept", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await issue(page);
    await page.getByRole("link", { name: "Send by e-mail" }).click();
    await page.getByRole("button", { name: "Send message" }).click();
    await page.getByRole("link", { name: "Enter the e-mail address" }).waitFor();
    const to = `caller-${Date.now()}@example.com`;
    await page.getByLabel("E-mail address").fill(to);
    await check(page, "send-by-mail", "Send the code by e-mail");
    await page.keyboard.press("Enter");
    await page.getByText("The message is on its way.").waitFor();
    assert.ok(!(await page.content()).includes(to));
    const mailbox = `${new URL(ours.portalURL).origin}/dev/mailbox.json`;
    let letter;
    for (let tries = 0; letter === undefined; tries++) {
      assert.ok(tries < 40, "no letter came");
      await new Promise((resolve) => setTimeout(resolve, 250));
      letter = (await (await page.request.get(mailbox)).json())?.find((l) => l.To === to);
    }
    assert.equal(letter.Subject, ours.name);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("an expired code leaves the screen", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.clock.install();
    await issue(page);
    const code = (await page.locator(".code__group").allTextContents()).join("");
    await page.clock.runFor("10:05");
    assert.match(await page.locator("count-down [role=status]").textContent(), /5$/, "five minutes before, it is said aloud");
    await page.clock.runFor("05:00");
    assert.match(await page.locator("count-down").textContent(), /expired/);
    assert.equal(await page.locator(".code__digits").count(), 0);
    assert.ok(!(await page.content()).includes(code));
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("a code that nobody looks at is hidden", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.clock.install();
    await issue(page);
    const digits = page.locator(".code__digits");
    await page.evaluate(() => dispatchEvent(new Event("blur")));
    await page.clock.runFor("00:30");
    assert.equal(await digits.isVisible(), true, "another window may need the code");
    await page.clock.runFor("00:31");
    assert.equal(await digits.isVisible(), false);
    await page.getByRole("button", { name: "Show code" }).click();
    assert.equal(await digits.isVisible(), true);
    await page.evaluate(() => {
      Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    assert.equal(await digits.isVisible(), false);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("an impatient second click does not lose the code", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "caseworker");
    await page.getByText("Confirmed positive").click();
    await page.getByLabel("Test taken").fill(today().iso);
    let sent = 0;
    page.on("request", (request) => (sent += request.method() === "POST" ? 1 : 0));
    await page.getByRole("button", { name: "Issue code" }).dblclick();
    await page.locator(".code__digits").waitFor();
    assert.equal(sent, 1);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("the page tells what becomes of a code, without a reload", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.clock.install();
    await issue(page);
    const state = page.locator("code-state");
    await state.getByText("Not used yet").waitFor();
    const code = (await page.locator(".code__group").allTextContents()).join("");
    await check(page, "issued-live", "Verification code issued");

    assert.equal(await tryCode(code), 200);
    await page.clock.runFor("00:10");
    await state.getByText("Used", { exact: true }).waitFor();

    await page.getByRole("link", { name: "Look up a code" }).click();
    await page.getByLabel("Code, or its ID").fill(`${code.slice(0, 4)} ${code.slice(4)}`);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Used" }).waitFor();
    assert.ok(!page.url().includes(code), "a code is not in a URL");
    await check(page, "lookup-read-out", "Look up a code");

    assert.equal(await tryCode(code), 400, "a code works once");
    const refusal = page.getByText("the code had been used before, and works once");
    for (let tries = 0; (await refusal.count()) === 0; tries++) {
      assert.ok(tries < 40, "the refusal is not told");
      await new Promise((resolve) => setTimeout(resolve, 250));
      await page.reload();
    }
    await check(page, "lookup-refused", "Look up a code");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
