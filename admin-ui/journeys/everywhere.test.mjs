import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, person, pressEnterOn, tabTo, today } from "./portal.mjs";

/** Signs a caseworker in, to the form for a code. */
async function signIn(page) {
  await page.goto(new URL("/portal", ours.portalURL).href);
  await pressEnterOn(page, "Continue to sign in");
  await pressEnterOn(page, `Sign in as ${person(ours, "caseworker").name}`);
  await pressEnterOn(page, ours.name);
}

test("single keys lead to pages, unless somebody types or wants none", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page);
    await page.locator("#phone").focus();
    await page.keyboard.type("l?");
    assert.equal(await page.locator("#phone").inputValue(), "l?", "letters are letters where something is typed");
    await page.locator("h1").click();
    await page.keyboard.press("?");
    await check(page, "shortcuts-1-sheet", "Issue a verification code");
    assert.match(await page.locator("short-cuts dialog").innerText(), /Look up a code/);
    await page.keyboard.press("l");
    assert.ok(await page.locator("short-cuts dialog").isVisible(), "an open dialog keeps the keys");
    await page.keyboard.press("Escape");
    await page.keyboard.press("l");
    await page.waitForURL(/\/codes$/);
    await page.keyboard.press("?");
    await page.locator("label[for=shortcuts_on]").click();
    await page.keyboard.press("Escape");
    await page.keyboard.press("i");
    await page.keyboard.press("?");
    assert.equal(await page.locator("short-cuts dialog").isVisible(), false, "they are switched off");
    assert.match(page.url(), /\/codes$/);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("an idle session warns, and what was typed stays", async () => {
  const browser = await launch();
  try {
    const { page, context, faults } = await open(browser);
    await page.clock.install();
    await signIn(page);
    await page.locator("#phone").fill("+12065550142");
    const dialog = page.locator("session-end dialog");
    await page.clock.fastForward("16:50");
    assert.equal(await dialog.isVisible(), false);
    await page.clock.fastForward("00:20");
    await dialog.waitFor();
    await check(page, "session-1-warning", "Issue a verification code");
    assert.match(await dialog.innerText(), /Are you still there\?[^]*Minutes left: 2/);
    await page.locator("[data-act=stay]").click();
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await page.locator("#phone").inputValue(), "+12065550142");

    // Another tab in which something is done speaks for this one.
    await page.clock.fastForward("17:30");
    await dialog.waitFor();
    const other = await context.newPage();
    await other.goto(page.url());
    await dialog.waitFor({ state: "hidden" });
    await other.close();

    await context.clearCookies();
    await page.clock.fastForward("17:30");
    await page.locator("[data-act=stay]").click();
    await page.getByText("You have been signed out.").waitFor();
    await check(page, "session-2-over", "Issue a verification code");
    await page.locator("session-end [data-part=over] [data-act=close]").click();
    assert.equal(await page.locator("#phone").inputValue(), "+12065550142");
    assert.deepEqual(faults.filter((f) => !/ERR_FAILED|redirect/.test(f)), []);
  } finally {
    await browser.close();
  }
});

test("the end that nothing puts off is told ten minutes before", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await page.clock.install();
    await signIn(page);
    const dialog = page.locator("session-end dialog");
    assert.ok(Number(await page.locator("session-end").getAttribute("rest")) > 11.9 * 3600, "a new session can last 12 hours");
    // The server's clock cannot be turned: the page is told what it would be after 11 hours and 49 minutes.
    await page.locator("session-end").evaluate((e) => {
      e.setAttribute("rest", "660");
      e.connectedCallback();
    });
    await page.locator("#phone").fill("+12065550142");
    await page.clock.fastForward("00:50");
    assert.equal(await dialog.isVisible(), false);
    await page.clock.fastForward("00:20");
    await dialog.waitFor();
    await check(page, "session-3-last", "Issue a verification code");
    assert.match(await dialog.innerText(), /Your session ends soon[^]*Minutes left: 10/);
    await page.keyboard.press("Escape");
    await page.clock.fastForward("05:00");
    assert.equal(await dialog.isVisible(), false, "it is told once");
    await page.clock.fastForward("05:00");
    await page.getByText("You have been signed out.").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("where people choose the colors, what is chosen can still be told", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { forcedColors: "active" });
    await signIn(page);
    await check(page, "contrast-1-form", "Issue a verification code");
    const line = (selector) => page.locator(selector).first().evaluate((e) => getComputedStyle(e).borderBottomColor);
    assert.notEqual(await line(".place__nav a[aria-current]"), await line(".place__nav a:not([aria-current])"), "the page that one is on");
    const mark = (label) => page.getByText(label).first().evaluate((e) => {
      const { backgroundColor, outlineColor, outlineWidth, borderWidth } = getComputedStyle(e.closest("label"), "::before");
      return JSON.stringify({ backgroundColor, outlineColor, outlineWidth, borderWidth });
    });
    await page.getByText("Confirmed positive").click();
    assert.notEqual(await mark("Confirmed positive"), await mark("Likely positive"), "the choice that is made");
    await tabTo(page, "Issue code");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("a printed page has its content, and neither a code nor what only a screen can do", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page);
    await tabTo(page, "Confirmed positive");
    await page.keyboard.press("Space");
    await tabTo(page, "Test taken");
    await page.keyboard.type(today().typed);
    await pressEnterOn(page, "Issue code");
    const code = await page.locator(".code__group").allTextContents();
    await page.emulateMedia({ media: "print" });
    const printed = await page.locator("body").innerText();
    for (const group of code) assert.ok(!printed.includes(group), "paper has no code on it");
    assert.match(printed, /Codes are not printed\./);
    assert.match(printed, /What to do now/);
    for (const name of ["Sign out", "Copy code", "Help with this page"]) assert.ok(!printed.includes(name), `"${name}" is for screens`);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
