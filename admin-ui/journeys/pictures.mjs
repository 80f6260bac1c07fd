// Pictures of pages, in the looks that people have them in.
import { appendFileSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const wide = { width: 1280, height: 800 };
/** How much of a page the documents show, from its top. */
const tallest = 1100; // pixels

/** The looks: each is a folder of pictures. */
const looks = {
  light: { viewport: wide, media: { colorScheme: "light" } },
  dark: { viewport: wide, media: { colorScheme: "dark" } },
  narrow: { viewport: { width: 360, height: 640 }, media: { colorScheme: "light" } },
};

/** The names of the pictures that the documents show. */
export const shown = new Set(
  [join(root, "README.md"), ...readdirSync(join(root, "deploy/docs")).map((name) => join(root, "deploy/docs", name))]
    .filter((path) => path.endsWith(".md"))
    .flatMap((path) => [...readFileSync(path, "utf8").matchAll(/images\/([\w-]+)\.png/g)].map(([, name]) => name)),
);

/** Takes a picture of the page in every look, and notes of what address it is. */
export async function takePictures(page, name, folder) {
  const scheme = await page.evaluate(() => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  const before = { viewport: page.viewportSize(), media: { colorScheme: scheme } };
  for (const [look, as] of Object.entries(looks)) {
    await assume(page, as);
    await picture(page, join(folder, look), name, {});
    if (look === "light" && shown.has(name)) {
      const height = Math.min(tallest, await page.evaluate(() => document.documentElement.scrollHeight));
      await picture(page, join(folder, "documents"), name, { clip: { x: 0, y: 0, width: wide.width, height } });
    }
  }
  await assume(page, before);
  appendFileSync(join(folder, "pages.jsonl"), `${JSON.stringify({ name, path: new URL(page.url()).pathname })}\n`);
}

async function picture(page, folder, name, options) {
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true, animations: "disabled", ...options });
}

async function assume(page, { viewport, media }) {
  await page.setViewportSize(viewport);
  await page.emulateMedia(media);
}
