// The pack's own controls in a language of the frontend.
//
//   node languages.mjs --url URL --locale zh --typed TEXT --rendering classic|vue
//                      [--chromium PATH] [--screenshot FILE]
//
// Prints one JSON object: what the controls show, the word that the typed text led to, errors.

import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    locale: { type: "string" },
    typed: { type: "string" },
    rendering: { type: "string", default: "classic" },
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 200_000;
const { page, errors, close } = await openFrontend(options.url, options.chromium, deadline, {
  viewport: { width: 1700, height: 1000 },
});
const TYPES = [
  "DenseFace_PoseFromAngles",
  "SFSR_ExpressionFromWord",
  "SFSR_ExpressionFromSliders",
  "DenseFace_DetectFaces",
];
const setting = (name, value) =>
  page.evaluate(([id, to]) => window.app.extensionManager.setting.set(id, to), [name, value]);
const texts = (selector) => page.locator(selector).allTextContents();

try {
  await setting("Comfy.VueNodes.Enabled", options.rendering === "vue");
  await setting("Comfy.Locale", options.locale); // the frontend then loads its nodes anew
  await page.waitForTimeout(3000);
  const graph = await page.evaluate((types) => {
    window.app.graph.clear();
    let x = 0;
    for (const type of types) {
      const node = window.LiteGraph.createNode(type);
      node.pos = [x, 0];
      window.app.graph.add(node);
      x += node.size[0] + 40;
    }
    const made = window.app.graph.serialize();
    made.extra = { ds: { scale: 0.9, offset: [40, 120] } };
    return made;
  }, TYPES);
  await loadGraph(page, graph, deadline);
  await page.waitForTimeout(1500);
  await page.keyboard.press("Escape");
  await page.locator("[role=dialog]").waitFor({ state: "hidden" });

  const report = { hints: await texts(".dense-face-hint") };
  report.groups = await texts(".dense-face-sliders summary");
  report.movements = await page
    .locator(".dense-face-sliders input[type=range]")
    .evaluateAll((all) => all.map((each) => each.ariaLabel));
  report.primaries = await texts(".dense-face-words button[data-word]");
  const search = page.locator(".dense-face-control input[type=search]");
  report.placeholder = await search.getAttribute("placeholder");
  await search.fill(options.typed);
  const first = page.locator(".dense-face-words button[data-word]:not(:has(img))").first();
  await first.waitFor();
  report.found = await first.textContent();
  await first.click();
  await page.waitForTimeout(400);
  report.caption = (await texts(".dense-face-caption"))[0];
  report.word = await page.evaluate(
    (type) =>
      window.app.graph.nodes
        .find((node) => node.type === type)
        .widgets.find((each) => each.name === "word").value,
    TYPES[1],
  );
  report.api = await page.evaluate(async () => (await window.app.graphToPrompt()).output);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });
  await setting("Comfy.Locale", "en");
  await page.waitForTimeout(1000);
  process.stdout.write(JSON.stringify({ ...report, errors }));
} finally {
  await close();
}
