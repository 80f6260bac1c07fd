import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { test } from "node:test";
import { check, launch, open, ours, pressEnterOn, tabTo, today } from "./portal.mjs";

const heading = "Get a code for your positive test";
const received = "Your request was received";

/** A number that nobody has and that has not reported yet. */
const number = () => `+1555${String(randomInt(1e7)).padStart(7, "0")}`;

/** Opens the page as a phone does: the key and the nonce are in headers, this once. */
async function openReport(page) {
  await page.setExtraHTTPHeaders({ "X-API-Key": ours.deviceKey, "X-Nonce": randomBytes(256).toString("base64") });
  await page.goto(ours.reportURL);
  await page.setExtraHTTPHeaders({});
}

async function messagesTo(phone) {
  const all = await (await fetch(ours.inboxURL)).json();
  return all.filter((m) => m.To === phone);
}

test("a person asks for a code with the keyboard alone", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser);
    await openReport(page);
    await check(page, "report", heading);

    await pressEnterOn(page, "Send me the code"); // nothing is filled in
    await check(page, "report-problem", heading);
    assert.equal(await page.evaluate(() => document.activeElement.id), "problems", "the problem has the focus");

    const phone = number();
    await tabTo(page, "Date of your test");
    await page.keyboard.type(today().typed);
    await tabTo(page, "Your mobile phone number");
    await page.keyboard.type(phone);
    await tabTo(page, "I tested positive");
    await page.keyboard.press("Space");
    await pressEnterOn(page, "Send me the code");
    await check(page, "report-sent", received);
    const sent = await messagesTo(phone);
    assert.equal(sent.length, 1);

    await openReport(page); // the same number once more: nobody can tell
    await page.getByLabel("Date of your test").fill(today().iso);
    await page.getByLabel("Your mobile phone number").fill(phone);
    await page.getByLabel("I tested positive").check();
    await page.getByRole("button", { name: "Send me the code" }).click();
    assert.equal(await page.locator("h1").textContent(), received);
    assert.equal((await messagesTo(phone)).length, 1);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("without scripts, in Spanish, on a narrow screen", async () => {
  const browser = await launch();
  try {
    const { page } = await open(browser, { javaScriptEnabled: false, locale: "es-MX", viewport: { width: 360, height: 740 } });
    await openReport(page);
    const phone = number();
    await page.getByLabel("Fecha de su prueba").fill(today().iso);
    await page.getByLabel("Su número de teléfono móvil").fill(phone);
    await page.getByRole("button", { name: "Envíenme el código" }).click();
    assert.match(await page.locator("#agreement_error").textContent(), /Marque la casilla/);
    await page.getByLabel("Mi prueba dio positivo").check();
    await page.getByRole("button", { name: "Envíenme el código" }).click();
    assert.equal(await page.locator("h1").textContent(), "Recibimos su solicitud");
    assert.equal((await messagesTo(phone)).length, 1);
  } finally {
    await browser.close();
  }
});

test("in Arabic, from right to left, and iOS is told when it is done", async () => {
  const browser = await launch();
  try {
    const { page, faults } = await open(browser, { locale: "ar-EG", userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 15_0 like Mac OS X)" });
    await page.addInitScript(() => {
      window.told = [];
      window.webkit = { messageHandlers: { progressObserver: { postMessage: (m) => window.told.push(m) } } };
    });
    await openReport(page);
    await check(page, "report-arabic", "احصل على رمز لنتيجة فحصك الإيجابية");
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("h1")).direction), "rtl");
    const edges = await page.evaluate(() => [".usa-button", "#phone"].map((at) => document.querySelector(at).getBoundingClientRect().right));
    assert.ok(Math.abs(edges[0] - edges[1]) < 1, `the button ends at ${edges[0]}, the field above it at ${edges[1]}`);
    await page.locator("#testDate").fill(today().iso);
    await page.locator("#phone").fill(number());
    await page.locator("#agreement").check();
    await page.locator("form button").click();
    await check(page, "report-arabic-sent", "تلقينا طلبك");
    assert.deepEqual(await page.evaluate(() => window.told), [{ userDidSubmit: true }]);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});

test("nobody opens it without a phone", async () => {
  const browser = await launch();
  try {
    const { page } = await open(browser);
    const answer = await page.goto(ours.reportURL);
    assert.equal(answer.status(), 401);
    await check(page, "report-closed", "This page opens only from the app");
  } finally {
    await browser.close();
  }
});
