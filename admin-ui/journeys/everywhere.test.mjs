import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, person, pressEnterOn } from "./portal.mjs";

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
    await page.clock.fastForward("17:50");
    assert.equal(await dialog.isVisible(), false);
    await page.clock.fastForward("00:20");
    await dialog.waitFor();
    await check(page, "session-1-warning", "Issue a verification code");
    assert.match(await dialog.innerText(), /Minutes left: 2/);
    await page.locator("[data-act=stay]").click();
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await page.locator("#phone").inputValue(), "+12065550142");

    // Another tab in which something is done speaks for this one.
    await page.clock.fastForward("18:30");
    await dialog.waitFor();
    const other = await context.newPage();
    await other.goto(page.url());
    await dialog.waitFor({ state: "hidden" });
    await other.close();

    await context.clearCookies();
    await page.clock.fastForward("18:30");
    await page.locator("[data-act=stay]").click();
    await page.getByText("You have been signed out.").waitFor();
    await check(page, "session-2-over", "Issue a verification code");
    await page.locator("session-end [data-act=close]").click();
    assert.equal(await page.locator("#phone").inputValue(), "+12065550142");
    assert.deepEqual(faults.filter((f) => !/ERR_FAILED|redirect/.test(f)), []);
  } finally {
    await browser.close();
  }
});

for (const [name, viewport] of [
  ["a small phone", { width: 360, height: 640 }],
  ["a screen of 1280 pixels at 400 %", { width: 320, height: 256 }],
]) {
  test(`the portal in Spanish on ${name}`, async () => {
    const browser = await launch();
    try {
      const { page, faults } = await open(browser, { locale: "es-US", viewport });
      /** What sticks out: nothing but tables that scroll by themselves may be wider than the page. */
      const fits = async () =>
        assert.deepEqual(
          await page.evaluate(() => {
            if (document.documentElement.scrollWidth <= window.innerWidth) return [];
            const wide = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > window.innerWidth);
            return wide.map((e) => e.outerHTML.slice(0, 120)).slice(0, 5);
          }),
          [],
          `${page.url()} scrolls sideways`,
        );
      await page.goto(new URL("/portal", ours.portalURL).href);
      await check(page, `narrow-${viewport.width}-1-login`, "Iniciar sesión");
      await fits();
      await pressEnterOn(page, "Continuar para iniciar sesión");
      await pressEnterOn(page, `Sign in as ${person(ours, "owner").name}`);
      await pressEnterOn(page, ours.name);
      await page.waitForURL(/\/portal\/[^/]+\/.+/);
      const links = await page.locator(".place__nav a").evaluateAll((all) => all.map((a) => a.href));
      const places = new Set(links);
      await page.goto(links.at(-1));
      for (const link of await page.locator(".place__nav a").evaluateAll((all) => all.map((a) => a.href))) places.add(link);
      for (const place of places) {
        await page.goto(place);
        await check(page, `narrow-${viewport.width}-${new URL(place).pathname.split("/").slice(3).join("-")}`, await page.locator("h1").textContent());
        assert.equal(await page.locator("html").getAttribute("lang"), "es");
        await fits();
      }
      assert.deepEqual(faults, []);
    } finally {
      await browser.close();
    }
  });
}
