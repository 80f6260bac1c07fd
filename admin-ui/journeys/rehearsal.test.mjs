// Staff of a sandbox rehearse with simulated phones: an analyst, who may issue no codes
// elsewhere, plays a whole case by keyboard, and a caseworker has a phone redeem a code that
// she issued as always, without scripts and in Spanish on a narrow screen.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, fits, launch, open, ours, pressEnterOn, sandbox, signIn, tabTo, today, wordsIn } from "./portal.mjs";

const heading = "Rehearsal with simulated phones";

/** Has phone B look until it is notified. */
async function lookUntilNotified(page, button, notified) {
  for (let i = 0; i < 120 && !(await page.getByText(notified).count()); i++) {
    await page.getByRole("button", { name: button }).click();
    await page.waitForTimeout(500);
  }
  await page.getByText(notified).waitFor();
}

test("an analyst plays a whole case by keyboard", async () => {
  const browser = await launch();
  try {
    const { page, context, faults } = await open(browser);
    await signIn(page, sandbox, "analyst");
    await pressEnterOn(page, "Rehearsal");
    await check(page, "rehearsal-1-none", heading);
    assert.match(await page.locator(".sandbox__mark").innerText(), /sandbox/i);
    await pressEnterOn(page, "Begin a rehearsal");
    await check(page, "rehearsal-2-met", heading);

    await tabTo(page, "Code, as its owner types it");
    await page.keyboard.type("0000 0000");
    await pressEnterOn(page, "Redeem");
    await page.getByText("The server does not accept this code").first().waitFor();
    assert.equal(await page.locator("#code").inputValue(), "0000 0000");
    await check(page, "rehearsal-3-refused", heading);

    await pressEnterOn(page, "Issue a code");
    const code = (await page.locator(".card__code").innerText()).replace(/\s/g, "");
    assert.match(code, /^\d{8}$/);
    assert.equal(await page.locator("#code").inputValue(), code);
    await check(page, "rehearsal-4-issued", heading);

    await pressEnterOn(page, "Redeem");
    await check(page, "rehearsal-5-redeemed", heading);
    assert.equal(await page.getByText(code).count(), 0, "a code that was used is not shown");
    await pressEnterOn(page, "Share");
    await check(page, "rehearsal-6-published", heading);
    await lookUntilNotified(page, "Look for new files", "You may have been exposed");
    await check(page, "rehearsal-7-notified", heading);

    await pressEnterOn(page, "Begin again");
    await check(page, "rehearsal-8-again", "Begin the rehearsal again?");
    await pressEnterOn(page, "Delete them and begin again");
    await page.getByText("Two phones are ready.").waitFor();

    const tab = await context.newPage();
    await tab.goto(page.url());
    await pressEnterOn(page, "Issue a code");
    await tab.getByRole("button", { name: "Issue a code" }).click();
    await tab.getByText("That step was taken before.").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("a phone redeems a code from the caseworker's own page, without scripts, in Spanish, at 320 pixels", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { javaScriptEnabled: false, locale: "es-MX", viewport: { width: 320, height: 800 } });
    const words = wordsIn("es");
    await page.goto(`${sandbox.portalURL}codes/new`);
    await page.getByRole("link", { name: words("login.button") }).click();
    await page.getByRole("button", { name: "Sign in as Caseworker, Sandbox of North Shore" }).click();
    await page.locator("label", { hasText: words("test_type.confirmed") }).click();
    await page.locator("#test_date").fill(today().iso);
    await page.locator("form button", { hasText: words("issue.button") }).click();
    const code = (await page.locator(".code__digits").innerText()).replace(/\s/g, "");

    await page.goto(`${sandbox.portalURL}rehearsal`);
    await page.getByRole("button", { name: words("rehearsal.begin") }).click();
    await page.locator("#code").fill(code);
    await page.getByRole("button", { name: words("rehearsal.redeem.button") }).click();
    await page.getByText(words("rehearsal.redeem.used")).waitFor();
    await page.getByRole("button", { name: words("rehearsal.publish.button") }).click();
    await lookUntilNotified(page, words("rehearsal.look.button"), words("rehearsal.look.title"));
    await fits(page);
    await page.goto(`${sandbox.portalURL}codes`);
    await page.locator("#id").fill(code);
    await page.getByRole("button", { name: words("lookup.button") }).click();
    assert.equal(await page.locator(".result--used").count(), 1, "the code counts as any other");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("production has no rehearsal", async () => {
  const browser = await launch();
  try {
    const { page } = await open(browser);
    await signIn(page, ours, "owner");
    assert.equal(await page.getByRole("link", { name: "Rehearsal" }).count(), 0);
    assert.equal(await page.locator("body.sandbox").count(), 0);
    const answer = await page.goto(`${ours.portalURL}rehearsal`);
    assert.equal(answer.status(), 404);
    await check(page, "rehearsal-9-production", "Page not found");
  } finally {
    await browser.close();
  }
});
