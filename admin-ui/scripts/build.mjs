// Builds styles and scripts into a folder: `node scripts/build.mjs [folder]`, by
// default assets/dist, which is checked in. The same source gives the same bytes.
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import * as sass from "sass";
import { prune } from "./prune.mjs";
import { properties, recolor } from "./palette.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const uswds = join(root, "node_modules/@uswds/uswds");

/** Every word in the templates and scripts: a class that is not among them styles nothing. */
async function words() {
  const found = new Set();
  for (const folder of [".", "pages", "components", "report"]) {
    for (const file of await readdir(join(root, folder), { recursive: folder === "components" })) {
      if (![".html", ".ts"].includes(extname(file))) continue;
      for (const [word] of (await readFile(join(root, folder, file), "utf8")).matchAll(/[\w-]+/g)) found.add(word);
    }
  }
  return found;
}

/** The design system's styles with our colors, less what no page uses; then ours. */
async function styles() {
  const options = { loadPaths: [join(uswds, "packages"), join(root, "styles"), root], quietDeps: true };
  const system = sass.compile(join(root, "styles/system.scss"), options).css;
  const own = sass.compile(join(root, "styles/portal.scss"), options).css;
  return properties() + recolor(prune(system, await words())) + own;
}

/** Finds pictures and fonts of the design system, which its styles name by short paths. */
const systemFiles = {
  name: "system-files",
  setup(build) {
    build.onResolve({ filter: /^(img|fonts)\// }, ({ path }) => ({ path: join(uswds, "dist", path) }));
  },
};

async function bundle(folder) {
  const result = await esbuild.build({
    absWorkingDir: root,
    stdin: { contents: await styles(), loader: "css", resolveDir: root, sourcefile: "portal.css" },
    bundle: true,
    minify: true,
    charset: "utf8",
    legalComments: "none",
    target: ["chrome109", "firefox115", "safari16"],
    loader: { ".woff2": "file", ".svg": "file" },
    assetNames: "[name]-[hash]",
    entryNames: "portal-[hash]",
    outdir: folder,
    plugins: [systemFiles],
    metafile: true,
  });
  const scripts = await esbuild.build({
    absWorkingDir: root,
    entryPoints: ["scripts/portal.ts", "scripts/plot.ts", "scripts/report.ts"],
    bundle: true,
    minify: true,
    format: "esm",
    target: ["chrome109", "firefox115", "safari16"],
    legalComments: "none",
    entryNames: "[name]-[hash]",
    outdir: folder,
    metafile: true,
  });
  const icon = await esbuild.build({
    absWorkingDir: root,
    entryPoints: ["styles/icon.svg"],
    loader: { ".svg": "copy" },
    entryNames: "icon-[hash]",
    outdir: folder,
    metafile: true,
  });
  return [result, scripts, icon].flatMap((r) => Object.keys(r.metafile.outputs).map((path) => basename(path)));
}

export async function build(folder) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const manifest = {};
  for (const name of (await bundle(folder)).sort()) {
    // portal-3XAMPLE0.css is called portal.css in templates.
    manifest[name.replace(/-[A-Z0-9]{8}(?=\.[a-z0-9]+$)/, "")] = name;
  }
  await writeFile(join(folder, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build(resolve(process.argv[2] ?? join(root, "assets/dist")));
}
