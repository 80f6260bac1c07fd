// What the journeys share: the running service, the browser, and the checks that
// every page must pass.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { takePictures } from "./pictures.mjs";

const endpoints = JSON.parse(readFileSync(needed("CARILLON_ENDPOINTS"), "utf8"));

/** The two demo departments. */
export const [ours, theirs] = endpoints.tenants;

/** The sandbox of ours. */
export const { sandbox } = endpoints;

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} must name the endpoints.json of a running "carillon dev"`);
  return value;
}

export function person(department, role) {
  const found = department.staff.find((p) => p.roles.includes(role));
  assert.ok(found, `${department.slug} has a ${role}`);
  return found;
}

export function launch() {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-headless-shell"];
  return chromium.launch({
    executablePath: process.env.CARILLON_CHROMIUM || places.find(existsSync),
    args: [
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-gpu",
      "--disable-quic",
      "--disable-sync",
      "--no-first-run",
      // Chromium's sandbox does not work as root, and these pages are our own.
      ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
    ],
  });
}

/** A fresh browser profile. Whatever the page reports as an error fails the journey. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-US", timezoneId: "America/Los_Angeles", ...options });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !/the server responded with a status of/.test(message.text())) faults.push(message.text());
  });
  return { page, context, faults };
}

/** Checks the page with axe, and takes pictures if CARILLON_SCREENSHOTS names a folder. */
export async function check(page, name, heading) {
  assert.equal(await page.locator("h1").textContent(), heading);
  assert.match(await page.title(), new RegExp(`^(Error: )?${heading.replace(/[?.]/g, "\\$&")}`));
  await page.evaluate(axe.source);
  const violations = await page.evaluate(async () => {
    const found = await window.axe.run({ resultTypes: ["violations"] });
    return found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
  });
  assert.deepEqual(violations, [], `accessibility of ${name}`);
  const folder = process.env.CARILLON_SCREENSHOTS;
  if (folder) await takePictures(page, name, folder);
}

/** Presses Tab until what has the focus reads as `words`, and sees that one sees it. */
export async function tabTo(page, words) {
  const passed = [];
  for (let i = 0; i < 90; i++) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const e = document.activeElement;
      const text = (e?.labels?.[0]?.textContent || e?.textContent || "").replace(/\s+/g, " ").trim();
      return e === document.body ? "" : text;
    });
    if (name.startsWith(words)) return assert.equal(await page.evaluate(unseen), "", `the focus on "${words}"`);
    passed.push(name);
  }
  assert.fail(`Tab never reaches "${words}"; it reached ${JSON.stringify(passed)}`);
}

/** Says, within the page, why the focus cannot be seen; nothing if it can. */
async function unseen() {
  await Promise.all(document.getAnimations().map((a) => a.finished));
  const focused = document.activeElement;
  // The box of a radio button or checkbox is drawn by its label.
  const drawn = focused.matches("input[type=radio], input[type=checkbox]") ? focused.labels[0] : focused;
  const { left, top, right, bottom } = drawn.getBoundingClientRect();
  if (right <= 0 || bottom <= 0 || left >= innerWidth || top >= innerHeight) return "it is out of sight";
  const marked = [focused, drawn].some((e) => [null, "::before"].some((part) => {
    const style = getComputedStyle(e, part);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  }));
  return marked ? "" : "nothing marks it";
}

/** Sees that the page does not scroll sideways: nothing but a table in a frame of its own may. */
export async function fits(page) {
  const wide = await page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 120));
  });
  assert.deepEqual(wide.slice(0, 5), [], `${page.url()} scrolls sideways`);
}

/** The portal's words in a language, by their keys; `{…}` in them is filled in. */
export function wordsIn(language) {
  const folder = new URL(`../messages/${language}/`, import.meta.url);
  const texts = Object.assign({}, ...readdirSync(folder).map((file) => JSON.parse(readFileSync(new URL(file, folder), "utf8"))));
  return (key, values = {}) => {
    assert.ok(key in texts, `${key} has words in ${language}`);
    return texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  };
}

export async function pressEnterOn(page, words) {
  await tabTo(page, words);
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
}

/** Signs somebody in at the development provider, with the mouse. */
export async function signIn(page, department, role) {
  await page.goto(department.portalURL);
  await page.getByRole("link", { name: /Continue (to sign in|with a Carillon account)/ }).click();
  await page.getByRole("button", { name: `Sign in as ${person(department, role).name}` }).click();
}

/** Today in Los Angeles, which may be yesterday in UTC. */
export function today() {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: "America/Los_Angeles" }).format(new Date());
  const [year, month, day] = parts.split("-");
  return { typed: `${month}${day}${year}`, iso: parts };
}
