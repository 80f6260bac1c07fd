// Pictures of pages, in the looks that people have them in.
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const wide = { width: 1280, height: 800 };

/** The looks: each is a folder of pictures. */
export const looks = {
  light: { viewport: wide, media: { colorScheme: "light" } },
  dark: { viewport: wide, media: { colorScheme: "dark" } },
  narrow: { viewport: { width: 360, height: 640 }, media: { colorScheme: "light" } },
};

/** Takes a picture of the page in every look, and notes of what address it is. */
export async function takePictures(page, name, folder) {
  const before = { viewport: page.viewportSize(), media: await page.evaluate(() => ({ colorScheme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light" })) };
  for (const [look, { viewport, media }] of Object.entries(looks)) {
    await assume(page, viewport, media);
    mkdirSync(join(folder, look), { recursive: true });
    await page.screenshot({ path: join(folder, look, `${name}.png`), fullPage: true, animations: "disabled" });
  }
  await assume(page, before.viewport, before.media);
  appendFileSync(join(folder, "pages.jsonl"), `${JSON.stringify({ name, path: new URL(page.url()).pathname })}\n`);
}

async function assume(page, viewport, media) {
  await page.setViewportSize(viewport);
  await page.emulateMedia(media);
}
