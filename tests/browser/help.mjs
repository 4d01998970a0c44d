// The help of a node in the frontend's own panel.
//
//   node help.mjs --url URL --type NODE_ID [--chromium PATH] [--screenshot FILE]
//
// Prints one JSON object: title and images of the help, errors.

import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    type: { type: "string" },
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 120_000;
const { page, errors, close } = await openFrontend(options.url, options.chromium, deadline);

try {
  const graph = await page.evaluate((type) => {
    window.app.graph.clear();
    const node = window.LiteGraph.createNode(type);
    node.pos = [400, 250];
    window.app.graph.add(node);
    const made = window.app.graph.serialize();
    made.extra = { ds: { scale: 0.8, offset: [0, 0] } };
    return made;
  }, options.type);
  await loadGraph(page, graph, deadline);
  await page.waitForTimeout(1000);
  await page.keyboard.press("Escape");
  await page.locator("[role=dialog]").waitFor({ state: "hidden" });
  await page.evaluate(() => window.app.canvas.selectNode(window.app.graph.nodes[0]));
  await page.getByTestId("info-button").click();
  const help = page.locator(".node-help-content");
  await help.locator("img").first().waitFor({ timeout: 20_000 });
  await page.waitForFunction(() =>
    [...document.querySelectorAll(".node-help-content img")].every((each) => each.complete),
  );
  const report = {
    title: await help.locator("h1").first().textContent(),
    images: await help.locator("img").evaluateAll((all) =>
      all.map((each) => ({
        path: new URL(each.src).pathname,
        alt: each.alt,
        natural: each.naturalWidth,
        shown: each.getBoundingClientRect().width,
        panel: each.closest(".node-help-content").getBoundingClientRect().width,
      })),
    ),
  };
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  process.stdout.write(JSON.stringify({ ...report, errors }));
} finally {
  await close();
}
