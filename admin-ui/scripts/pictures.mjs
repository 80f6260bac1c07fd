// After the journeys, which take pictures of the pages that they pass: takes one of each page
// that is left, says which routes have none, and renews the pictures that the documents show.
import { copyFileSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { launch, open, ours, person, theirs } from "../journeys/portal.mjs";
import { prepareDepartment, signUpByLetter, suspendSandbox } from "./scenes.mjs";
import { root, shown, takePictures } from "../journeys/pictures.mjs";

const folder = process.env.CARILLON_SCREENSHOTS;
const origin = new URL(ours.portalURL).origin;

/** Addresses whose answer is a file, a number or another address: there is nothing to see. */
const pageless = [
  /^\/$/,
  /^\/(session$|t\/|\*|\.well-known\/)/,
  /^\/(assets|report\/files)\//,
  /^\/(portal\/:tenant\/)?login\/(start|callback|keys)/,
  /^\/join\/:tenant$/,
  /^\/portal\/:tenant\/$/,
  /^\/portal\/:tenant\/account\/link$/,
  /^\/portal\/:tenant\/sign-in\/:id\/try$/,
  /\/(file|log|state|sheet|results|public\/:version|api-keys\/:id\/report)$/,
];

/** Pages of a state that the demonstration does not come into, with why. */
const rare = {
  "/portal/:tenant/keys/rotations/:id/retire": "two versions sign only after a rotation that went to its end",
  "/portal/:tenant/pack/made/:id/push": "only a signed pack is sent, by a platform that is set up for it",
  "/portal/:tenant/exports/:window/regenerate": "no file was lost",
};

const routes = readFileSync(join(root, "deploy/service/testdata/routes.golden"), "utf8")
  .split("\n")
  .map((line) => line.split(/\s+/))
  .filter(([method, path, audience]) => method === "GET" && ["public", "staff", "operator", "patient"].includes(audience) && !pageless.some((p) => p.test(path)))
  .map(([, path]) => ({ path, pattern: new RegExp(`^${path.replace(/:[a-z]+/g, "[^/]+")}$`), parameters: path.split(":").length }))
  .sort((a, b) => a.parameters - b.parameters);

const routeOf = (path) => routes.find((route) => route.pattern.test(path));

/** Takes a picture of the page, if there is none of its route. */
async function look(page, seen) {
  const { path } = routeOf(new URL(page.url()).pathname) ?? {};
  if (!path || seen.has(path)) return;
  seen.add(path);
  await takePictures(page, path.slice(1).replaceAll("/", "-").replaceAll(":", ""), folder);
}

/** How many addresses of one route are looked at for links: things differ in what can be done with them. */
const enough = 4;

/** Goes wherever links lead from the page, and takes a picture of each route once. */
async function walk(page, seen) {
  const found = [page.url()];
  const tried = new Map();
  for (let address = found.shift(); address; address = found.shift()) {
    const { pathname } = new URL(address);
    const { path } = routeOf(pathname) ?? {};
    const before = tried.get(path) ?? [];
    if (!path || before.length === enough || before.includes(pathname)) continue;
    tried.set(path, [...before, pathname]);
    const answer = await page.goto(address);
    if (answer.ok()) await look(page, seen);
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
  const visitor = await open(browser);
  await signUpByLetter(visitor.page, () => look(visitor.page, seen));
  for (const [address, name, prepare] of [
    [ours.portalURL, person(ours, "owner").name, prepareDepartment],
    [theirs.portalURL, person(theirs, "owner").name],
    [`${origin}/operator`, "Operator of the platform", suspendSandbox],
  ]) {
    const { page, context } = await open(browser);
    await signIn(page, address, name);
    await prepare?.(page);
    await walk(page, seen);
    await context.close();
  }
} finally {
  await browser.close();
}

const untaken = [...shown].filter((name) => !existsSync(join(folder, "documents", `${name}.png`)));
for (const name of shown) {
  if (!untaken.includes(name)) copyFileSync(join(folder, "documents", `${name}.png`), join(root, "deploy/docs/images", `${name}.png`));
}
const unseen = routes.map((route) => route.path).filter((path) => !seen.has(path) && !(path in rare));
console.log(`${routes.filter(({ path }) => seen.has(path)).length} of ${routes.length} routes with a page have a picture, ${readdirSync(join(folder, "light")).length} pages in all, below ${folder}`);
for (const [path, why] of Object.entries(rare)) if (!seen.has(path)) console.log(`left out: ${path}: ${why}`);
for (const path of unseen) console.log(`no picture: ${path}`);
for (const name of untaken) console.log(`no picture for the documents: ${name}.png`);
process.exitCode = unseen.length + untaken.length ? 1 : 0;
