// Fails unless assets/dist is exactly what the source builds to.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "./build.mjs";

const dist = join(dirname(fileURLToPath(import.meta.url)), "../assets/dist");

async function contents(folder) {
  const files = {};
  for (const name of (await readdir(folder)).sort()) files[name] = (await readFile(join(folder, name))).toString("base64");
  return files;
}

const fresh = await mkdtemp(join(tmpdir(), "carillon-assets-"));
try {
  await build(fresh);
  const [checkedIn, built] = [await contents(dist), await contents(fresh)];
  const differing = [...new Set([...Object.keys(checkedIn), ...Object.keys(built)])].filter((name) => checkedIn[name] !== built[name]);
  if (differing.length) {
    console.error(`assets/dist is not what the source builds to; run "npm run build" and commit:\n  ${differing.join("\n  ")}`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true, force: true });
}
