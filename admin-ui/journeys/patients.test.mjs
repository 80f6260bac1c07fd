// The pages that patients see, and how an administrator gives them a face.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, signIn, tabTo } from "./portal.mjs";

const code = "abcd1234efgh5678";
const link = new URL(`v?c=${code}`, ours.redirectBase).href;
const iPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
const android = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36";

/** Follows a link on which no app is waiting, and tells where the browser was led. */
async function ledTo(page, url) {
  const answer = page.waitForResponse(url);
  await page.goto(url).catch(() => {}); // the browser knows no such scheme
  assert.equal((await answer).status(), 303);
  return (await answer).headers().location;
}

async function noWiderThanScreen(page) {
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(content <= screen, `${content} pixels of content on ${screen}`);
}

test("at a computer the link says to take the phone, and shows the code", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    const asked = [];
    page.on("request", (r) => asked.push(r));
    await page.goto(link);
    await check(page, "link-computer", "Open this link on your phone");
    assert.equal((await page.locator(".code-box__code").textContent()).trim(), "abcd 1234 efgh 5678");
    for (const r of asked) {
      assert.equal(new URL(r.url()).host, new URL(link).host, "another host is asked");
      assert.ok(!(r.headers().referer || "").includes(code), "the code is sent as a referrer");
    }
    await pressEnterOn(page, "العربية");
    await check(page, "link-computer-arabic", "افتح هذا الرابط على هاتفك");
    assert.equal(await page.locator("html").getAttribute("dir"), "rtl");
    await pressEnterOn(page, "Español");
    await check(page, "link-computer-spanish", "Abra este enlace en su teléfono");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

for (const [name, userAgent, width, locale, heading] of [
  ["iphone", iPhone, 320, "ar", "تابع على هذا الهاتف"],
  ["android", android, 360, "es-MX", "Continúe en este teléfono"],
]) {
  test(`a phone is led on, and gets a page when it comes back: ${name}`, async () => {
    const browser = await launch();
    try {
      const { page: first, context } = await open(browser, { userAgent, locale, viewport: { width, height: 640 }, colorScheme: "dark" });
      assert.match(await ledTo(first, link), /^(ens|ensonboarding|intent|https):/);
      const page = await context.newPage();
      await page.goto(link); // no app has opened it
      await check(page, `link-${name}`, heading);
      await noWiderThanScreen(page);
      await tabTo(page, await page.locator(".usa-button--big").textContent());
    } finally {
      await browser.close();
    }
  });
}

test("an administrator gives the pages a color and somebody to ask", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await signIn(page, ours, "administrator");
    await page.goto(new URL("patients", ours.portalURL).href);
    await check(page, "patients", "What patients see");
    await pressEnterOn(page, "Change look and contacts");
    await check(page, "patients-look", "Look, and whom to ask");
    await page.getByLabel("Color behind your name").fill("blue");
    await page.getByLabel("Telephone number for questions").fill("+1 206 555 0100");
    await pressEnterOn(page, "Save");
    await check(page, "patients-problem", "Look, and whom to ask");
    assert.equal(await page.getByLabel("Telephone number for questions").inputValue(), "+1 206 555 0100");
    await page.getByLabel("Color behind your name").fill("#0b3d5c");
    await pressEnterOn(page, "Save");
    await check(page, "patients-saved", "What patients see");
    const language = page.getByRole("link", { name: /^(Add a language|Change the words in Arabic)/ });
    await language.first().click();
    await check(page, "patients-text", "Your own words in a language");
    await page.getByLabel("Language", { exact: true }).fill("ar");
    await page.getByLabel("Name of your authority").fill("إدارة الصحة في الشاطئ الشمالي");
    await page.getByRole("button", { name: "Save" }).click();
    await check(page, "patients-words", "What patients see");
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
