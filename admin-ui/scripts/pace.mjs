// How long a caseworker needs from the sign-in page to a code that can be read out, with
// the keyboard alone, at the pace of somebody who types forty words a minute and takes a
// look at every page. Prints each part of the way; asserts nothing but that the way ends.
import { launch, open, ours, person, today } from "../journeys/portal.mjs";

const stroke = 300; // milliseconds for a key: forty words of five letters a minute
const look = 600; // before the first key on a new page
const runs = 5;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Person {
  constructor(page) {
    this.page = page;
    this.marks = [];
  }

  mark(what) {
    this.marks.push({ what, at: performance.now() });
  }

  async press(key) {
    await pause(stroke);
    await this.page.keyboard.press(key);
  }

  /** Goes on with Tab until what has the focus reads as `words`. */
  async reach(words) {
    for (let i = 0; i < 40; i++) {
      const name = await this.page.evaluate(() => {
        const e = document.activeElement;
        return (e?.labels?.[0]?.textContent || e?.textContent || "").trim();
      });
      if (i > 0 && name.startsWith(words)) return;
      await this.press("Tab");
    }
    throw new Error(`Tab never reaches "${words}"`);
  }

  async follow(words) {
    await this.reach(words);
    await pause(stroke);
    await Promise.all([this.page.waitForEvent("load"), this.page.keyboard.press("Enter")]);
  }

  /** Skips what stands above every page of the portal. */
  async skip() {
    await pause(look);
    await this.press("Tab");
    await this.press("Enter");
  }
}

async function run(browser) {
  const { page, context } = await open(browser);
  await page.goto(new URL("/portal", ours.portalURL).href);
  const she = new Person(page);
  she.mark("");
  await she.skip();
  await she.follow("Continue to sign in");
  await pause(look);
  await she.follow(`Sign in as ${person(ours, "caseworker").name}`);
  she.mark("signing in");
  if (await page.getByRole("heading", { name: "Choose a health authority" }).isVisible()) {
    await she.skip();
    await she.follow(ours.name);
    she.mark("choosing the authority");
  }
  await she.skip();
  await she.reach("Confirmed positive");
  await she.press("Space");
  await she.reach("Test taken");
  for (const key of today().typed) await she.press(key);
  await pause(stroke);
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  await page.locator(".code__group").first().waitFor();
  she.mark("filling in the form, and the code is there");
  await context.close();
  return she.marks;
}

const browser = await launch();
try {
  const all = [];
  for (let i = 0; i < runs; i++) all.push(await run(browser));
  const seconds = (ms) => (ms / 1000).toFixed(1).padStart(5);
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  for (let i = 1; i < all[0].length; i++) console.log(`${seconds(median(all.map((m) => m[i].at - m[i - 1].at)))} s  ${all[0][i].what}`);
  console.log(`${seconds(median(all.map((m) => m.at(-1).at - m[0].at)))} s  in all, median of ${runs}; slowest ${seconds(Math.max(...all.map((m) => m.at(-1).at - m[0].at))).trim()} s`);
} finally {
  await browser.close();
}
