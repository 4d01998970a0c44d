// The way of somebody who has just installed ComfyUI and the pack to the first image of a head.
//
//   node first_visit.mjs --url URL --pack FOLDER [--chromium PATH] [--screenshots FOLDER]
//
// Prints one JSON object: clicks, seconds until an image is shown (from opening the page, and from
// Run), the card that was chosen, thumbnails, the images of the run, errors.

import { parseArgs } from "node:util";
import { openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    pack: { type: "string" },
    screenshots: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 240_000;
const opened = performance.now();
const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
  { escape: false },
);
const report = { clicks: [] };

async function click(what, element) {
  await element.click({ timeout: 60_000 });
  report.clicks.push(what);
}

async function picture(name) {
  if (options.screenshots) await page.screenshot({ path: `${options.screenshots}/visit_${name}.png` });
}

try {
  const dialog = page.locator("[role=dialog]");
  // A first visit opens the templates by itself.
  await dialog.waitFor({ timeout: 20_000 }).catch(() => click("Templates", page.getByText("Templates")));
  await page.waitForTimeout(500);
  await picture("dialog");
  await click("the pack", dialog.getByText(options.pack, { exact: true }).first());
  const cards = dialog.locator("[data-testid^=template-workflow-]");
  await cards.first().waitFor();
  await page.waitForTimeout(2000);
  await picture("cards");
  report.cards = await cards.evaluateAll((all) => all.map((each) => each.innerText.split("\n").pop()));
  report.thumbnails = await cards
    .locator("img")
    .evaluateAll((all) => all.map((each) => [each.getAttribute("src"), each.naturalWidth]));
  // The host lists files as its disk has them: the first by its title, which need not be the first card.
  report.card = [...report.cards].sort()[0];
  await click("its first card", cards.nth(report.cards.indexOf(report.card)));
  await page.waitForFunction(() => window.app.graph.nodes.length > 1);
  await dialog.waitFor({ state: "hidden" });
  const run = performance.now();
  await click("Run", page.getByTestId("queue-button"));
  await page.waitForFunction(
    () => window.app.graph.nodes.some((node) => node.imgs?.[0]?.naturalWidth),
    null,
    { timeout: deadline - Date.now(), polling: 100 },
  );
  const now = performance.now();
  report.seconds = { opened: (now - opened) / 1000, run: (now - run) / 1000 };
  await picture("first_image");
  while (Date.now() < deadline && !report.outputs) {
    const [entry] = Object.values(await (await fetch(`${options.url}/history`)).json());
    if (entry) Object.assign(report, { outputs: entry.outputs, status: entry.status.status_str });
    await page.waitForTimeout(200);
  }
  report.seconds.finished = (performance.now() - opened) / 1000;
  await page.waitForTimeout(1000);
  await picture("finished");
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
}
