import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, person, pressEnterOn, tabTo, today } from "./portal.mjs";

test("a caseworker does the whole task with the keyboard", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.goto(new URL("/portal", ours.portalURL).href);
    await check(page, "keyboard-1-login", "Sign in");
    await pressEnterOn(page, "Continue to sign in");
    await pressEnterOn(page, `Sign in as ${person(ours, "caseworker").name}`);

    await check(page, "keyboard-2-choose", "Choose a health authority");
    await pressEnterOn(page, ours.name);

    await check(page, "keyboard-3-form", "Issue a verification code");
    await pressEnterOn(page, "Issue code");
    await check(page, "keyboard-4-problem", "Issue a verification code");
    assert.equal(await page.evaluate(() => document.activeElement?.id), "problems", "the summary has the focus");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter"); // the link leads to the field
    assert.notEqual(await page.evaluate(() => document.activeElement?.getAttribute("name")), null);

    await page.goto(page.url());
    await tabTo(page, "Confirmed positive");
    await page.keyboard.press("Space");
    await tabTo(page, "Test taken");
    await page.keyboard.type(today().typed);
    assert.equal(await page.locator("#test_date").inputValue(), today().iso);
    await pressEnterOn(page, "Issue code");

    await check(page, "keyboard-5-issued", "Verification code issued");
    const groups = await page.locator(".code__group").allTextContents();
    assert.match(groups.join(" "), /^\d{4} \d{4}$/, "the code is in two groups");
    const code = groups.join("");
    assert.ok(!page.url().includes(code) && !(await page.title()).includes(code), "the code is in the page alone");
    assert.match(await page.locator("count-down").textContent(), /^1[45]:\d\d left/);
    assert.match(await page.locator(".code__expires time").textContent(), /^\d\d:\d\d UTC$/);
    await tabTo(page, "Hide code");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator(".code__digits").isVisible(), false);
    await page.keyboard.press("Enter");
    assert.equal(await page.locator(".code__digits").isVisible(), true);

    await page.emulateMedia({ media: "print" });
    assert.equal(await page.locator(".code__digits").isVisible(), false, "paper has no code on it");
    assert.equal(await page.locator(".code__spelt").isVisible(), false);
    await page.emulateMedia({ media: "screen" });

    await pressEnterOn(page, "See whether it was used");
    await check(page, "keyboard-6-status", "Look up a code");
    assert.equal(await page.locator("#result").textContent(), "Not used yet");
    await pressEnterOn(page, "End this code");
    await check(page, "keyboard-7-question", "End this code?");
    await pressEnterOn(page, "End the code now");
    await check(page, "keyboard-8-ended", "Look up a code");
    assert.equal(await page.locator("#result").textContent(), "Expired");

    await pressEnterOn(page, "Sign out");
    await check(page, "keyboard-9-out", "You have signed out");
    await page.goto(ours.portalURL);
    await check(page, "keyboard-10-again", "Sign in");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
