// Opens every page of the built site in Chromium, at the width of a phone and of a desktop, and runs axe on it.
//
//     apt-get install chromium nodejs npm
//     npm install --prefix build/check axe-core@4 playwright-core@1
//     node scripts/check_site.mjs [--shots FOLDER] [PAGE ...]
//
// Fails on an accessibility violation, an error on the console, a request that leaves the machine, or a page that is
// wider than the screen. Light and dark are looked at in turn. PAGE is a path in build/site, such as faq.html; a report
// of `golden-stick report` that is put there is checked like any other page.
import { createRequire } from "node:module";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(resolve("build/check/node_modules/x"));
const { chromium } = require("playwright-core");
const axe = require.resolve("axe-core/axe.min.js");
const SITE = resolve("build/site");
const LOOKS = [
  { name: "phone", width: 390, height: 844, colorScheme: "light" },
  { name: "phone-dark", width: 390, height: 844, colorScheme: "dark" },
  { name: "desktop", width: 1280, height: 900, colorScheme: "light" },
  { name: "desktop-dark", width: 1280, height: 900, colorScheme: "dark" },
];

function pagesIn(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return pagesIn(path);
    return name.endsWith(".html") && name !== "404.html" ? [relative(SITE, path)] : [];
  });
}

async function wrong(page, path, look) {
  const found = [];
  page.removeAllListeners();
  page.on("console", (message) => message.type() === "error" && found.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => found.push(`error: ${error.message}`));
  page.on("request", (request) => /^https?:/.test(request.url()) && found.push(`request: ${request.url()}`));
  await page.goto(pathToFileURL(join(SITE, path)).href, { waitUntil: "load" });
  await page.addScriptTag({ path: axe });
  const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], preload: false }));
  for (const item of result.violations)
    found.push(`axe ${item.id} (${item.impact}): ${item.nodes.length} times, ${item.nodes.slice(0, 3).map((node) => node.target)} ${item.nodes[0].failureSummary.split("\n")[1]?.trim() ?? ""}`);
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  if (width > look.width) found.push(`${width} pixels wide on a screen of ${look.width}`);
  return found;
}

const words = process.argv.slice(2);
const at = words.indexOf("--shots");
const shots = at < 0 ? null : words.splice(at, 2)[1];
const pages = words.length ? words : pagesIn(SITE);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
let failures = 0;
for (const look of LOOKS) {
  // A report runs no script but its own: axe comes past its policy.
  const context = await browser.newContext({ viewport: look, colorScheme: look.colorScheme, bypassCSP: true });
  const page = await context.newPage();
  for (const path of pages) {
    const found = await wrong(page, path, look);
    failures += found.length;
    found.forEach((text) => console.log(`${look.name} ${path}: ${text}`));
    if (shots) {
      mkdirSync(shots, { recursive: true });
      await page.screenshot({ path: join(shots, `${path.replaceAll("/", "_")}-${look.name}.png`) });
    }
  }
  await context.close();
}
await browser.close();
console.log(`${pages.length} pages, ${LOOKS.length} looks: ${failures} failures`);
process.exit(failures ? 1 : 0);
