// After the journeys, which take pictures of the pages that they pass: takes one of each page
// that is left, says which routes have none, and renews the pictures that the documents show.
import { copyFileSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch, open, ours, person, theirs } from "../journeys/portal.mjs";
import { takePictures } from "../journeys/pictures.mjs";

const folder = process.env.CARILLON_SCREENSHOTS;
const root = fileURLToPath(new URL("../..", import.meta.url));
const origin = new URL(ours.portalURL).origin;

/** Addresses whose answer is a file, a number or another address: there is nothing to see. */
const pageless = [
  /^\/$/,
  /^\/session$/,
  /^\/(assets|report\/files)\//,
  /^\/(portal\/:tenant\/)?login\/(start|callback|keys)/,
  /^\/join\/:tenant$/,
  /^\/portal\/:tenant\/$/,
  /^\/portal\/:tenant\/account\/link$/,
  /^\/portal\/:tenant\/sign-in\/:id\/try$/,
  /\/(file|log|state|sheet|public\/:version)$/,
];

const routes = readFileSync(join(root, "deploy/service/testdata/routes.golden"), "utf8")
  .split("\n")
  .map((line) => line.split(/\s+/))
  .filter(([method, path, audience]) => method === "GET" && ["public", "staff", "operator", "patient"].includes(audience) && !pageless.some((p) => p.test(path)))
  .map(([, path]) => ({ path, pattern: new RegExp(`^${path.replace(/:[a-z]+/g, "[^/]+")}$`), parameters: path.split(":").length }))
  .sort((a, b) => a.parameters - b.parameters);

const routeOf = (path) => routes.find((route) => route.pattern.test(path));

/** Goes wherever links lead from the page, to each route once. */
async function walk(page, seen) {
  const found = [page.url()];
  const tried = new Set();
  for (let address = found.shift(); address; address = found.shift()) {
    const { path } = routeOf(new URL(address).pathname) ?? {};
    if (!path || tried.has(path)) continue;
    tried.add(path);
    const answer = await page.goto(address);
    const arrived = routeOf(new URL(page.url()).pathname)?.path;
    if (answer.ok() && arrived && !seen.has(arrived)) {
      seen.add(arrived);
      await takePictures(page, arrived.slice(1).replaceAll("/", "-").replaceAll(":", ""), folder);
    }
    const links = await page.locator("a[href]:not([download])").evaluateAll((all) => all.map((a) => a.href));
    found.push(...links.filter((link) => link.startsWith(origin)));
  }
}

async function signIn(page, address, name) {
  await page.goto(address);
  const button = page.getByRole("link", { name: /Continue (to sign in|with a Carillon account)/ });
  if (await button.count()) await button.click();
  await page.getByRole("button", { name: `Sign in as ${name}` }).click();
}

const seen = new Set(
  readFileSync(join(folder, "pages.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => routeOf(JSON.parse(line).path)?.path),
);
const browser = await launch();
try {
  for (const [address, name] of [
    [ours.portalURL, person(ours, "owner").name],
    [theirs.portalURL, person(theirs, "owner").name],
    [`${origin}/operator`, "Operator of the platform"],
  ]) {
    const { page, context } = await open(browser);
    await signIn(page, address, name);
    await walk(page, seen);
    await context.close();
  }
} finally {
  await browser.close();
}

const documents = [join(root, "README.md"), ...readdirSync(join(root, "deploy/docs")).map((name) => join(root, "deploy/docs", name))].filter((path) => path.endsWith(".md"));
const shown = new Set(documents.flatMap((path) => [...readFileSync(path, "utf8").matchAll(/images\/([\w-]+)\.png/g)].map(([, name]) => name)));
const untaken = [...shown].filter((name) => !existsSync(join(folder, "light", `${name}.png`)));
for (const name of shown) {
  if (!untaken.includes(name)) copyFileSync(join(folder, "light", `${name}.png`), join(root, "deploy/docs/images", `${name}.png`));
}
const unseen = routes.map((route) => route.path).filter((path) => !seen.has(path));
console.log(`${routes.length - unseen.length} of ${routes.length} routes with a page have a picture, ${readdirSync(join(folder, "light")).length} pages in all, below ${folder}`);
for (const path of unseen) console.log(`no picture: ${path}`);
for (const name of untaken) console.log(`no picture for the documents: ${name}.png`);
process.exitCode = unseen.length + untaken.length ? 1 : 0;
