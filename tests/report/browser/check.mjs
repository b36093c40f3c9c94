// Opens a report in headless Chromium and prints one JSON object of what happened there.
// Usage: node check.mjs CHROMIUM REPORT.html
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

const [executablePath, report] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const found = { messages: [], requests: [], violations: [] };

const open = async (options) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => found.messages.push(message.text()));
  page.on("pageerror", (error) => found.messages.push(error.message));
  page.on("dialog", (dialog) => { found.messages.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => found.requests.push(request.url()));
  await page.goto(pathToFileURL(report).href);
  return page;
};

// What a reader sees of the panels: the visible curves, and the values at rank k.
const seen = (page) => page.evaluate(() => ({
  lines: [...document.querySelectorAll("figure .line")].filter((line) => getComputedStyle(line).display !== "none")
    .map((line) => line.getAttribute("class")),
  k: document.getElementById("shown").textContent,
  values: [...document.querySelectorAll(".readout output")].map((output) => output.textContent),
}));

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 400]) {
    const page = await open({ colorScheme, viewport: { width, height: 900 } });
    // The policy of the page admits no foreign script: axe comes in through the debugger.
    await page.evaluate(axe);
    const result = await page.evaluate(() => axe.run());
    found.violations.push(...result.violations.map((violation) =>
      `${colorScheme} ${width}: ${violation.id} ${violation.nodes.map((node) => node.html).join(" ")}`));
    found.overflow ||= await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    await page.context().close();
  }
}

const page = await open({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
found.images = await page.locator("img").count();
found.opened = await seen(page);
// With the keyboard alone: an arrow in each group, then one more rank.
await page.getByRole("radio", { name: "cumulative" }).focus();
await page.keyboard.press("ArrowRight");
found.individual = await seen(page);
await page.getByRole("radio", { name: /span/ }).focus();
await page.keyboard.press("ArrowRight");
found.variance = await seen(page);
await page.locator("#rank").focus();
await page.keyboard.press("ArrowRight");
found.stepped = await seen(page);
await page.locator("figure svg").first().hover({ position: { x: 2, y: 100 } });
found.hovered = await seen(page);
const download = page.waitForEvent("download");
await page.getByRole("button", { name: /Download/ }).first().click();
found.download = readFileSync(await (await download).path(), "utf8");
await browser.close();
console.log(JSON.stringify(found));
