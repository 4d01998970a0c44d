// Runs a graph in the real frontend and reports what its nodes show, and the colours of its links.
//
//   node see_results.mjs --url URL --rendering classic|vue [--chromium PATH] [--screenshot FILE]
//
// Prints one JSON object.

import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    rendering: { type: "string", default: "classic" },
    seed: { type: "string", default: "0" }, // another one for each run: cached nodes show nothing
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const deadline = Date.now() + 240_000;
const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
  { viewport: { width: 2200, height: 1500 } },
);

// Name in the report, type, widgets, inputs by the names of nodes above, column.
const NODES = [
  ["analyzer", "DenseFace_LoadTinyAnalyzer", {}, {}, 0],
  ["evaluator", "DenseFace_LoadTinyJudge", {}, {}, 0],
  ["reference", "DenseFace_TinyPortrait", { person: 2, scene: 3 }, {}, 0],
  ["same", "DenseFace_TinyPortrait", { person: 2, scene: 8, yaw: 20 }, {}, 0],
  ["other", "DenseFace_TinyPortrait", { person: 7, scene: 8 }, {}, 1],
  ["angles", "DenseFace_PoseFromAngles", { yaw: 20 }, {}, 1],
  ["batch", "ImageBatch", {}, { image1: "same", image2: "other" }, 1],
  ["quick", "DenseFace_QuickPortrait", { seed: Number(options.seed) }, { reference: "reference" }, 3],
  ["likeness", "DenseFace_MeasureLikeness", {}, { analyzer: "analyzer", image: "same", reference: "reference", independent: "evaluator" }, 2],
  ["two", "DenseFace_MeasureLikeness", {}, { analyzer: "analyzer", image: "batch", reference: "reference" }, 2],
  ["pose", "DenseFace_MeasurePose", {}, { analyzer: "analyzer", image: "same", pose: "angles" }, 2],
  ["expression", "DenseFace_MeasureExpression", {}, { analyzer: "analyzer", image: "other", reference: "same" }, 2],
  ["change", "DenseFace_MeasureChange", {}, { before: "reference", after: "same" }, 2],
  ["portrait", "PreviewImage", {}, { images: "quick" }, 4],
];

try {
  await page.evaluate(
    (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue),
    options.rendering === "vue",
  );
  const { graph, ids } = await freshGraph();
  await loadGraph(page, graph, deadline);
  await page.waitForTimeout(1500);
  await page.keyboard.press("Escape"); // the dialog of a first visit may come late
  await page.locator("[role=dialog]").waitFor({ state: "hidden" });
  const report = { rendering: options.rendering, ids, links: await links(), dots: await dots() };
  report.places = await page.evaluate(() => window.app.graph.nodes.map((node) => [...node.pos]));

  await page.evaluate(() => window.app.queuePrompt(0, 1));
  await page.waitForFunction((id) => window.app.nodeOutputs[id]?.images, String(ids.portrait), {
    timeout: 120_000,
  });
  await page.waitForFunction((id) => window.app.nodeOutputs[id]?.text, String(ids.change));
  await page.waitForTimeout(2000);
  report.results = await results();
  report.compared = await compared();
  report.outputs = await page.evaluate(() => JSON.parse(JSON.stringify(window.app.nodeOutputs)));
  if (options.screenshot) await page.screenshot({ path: options.screenshot });

  await page.evaluate(() =>
    window.app.extensionManager.setting.set("Comfy.ColorPalette", "light"),
  );
  await page.waitForTimeout(500);
  report.lightLinks = await links();
  report.lightDots = await dots();
  await page.evaluate(() => window.app.extensionManager.setting.set("Comfy.ColorPalette", "dark"));

  await page.evaluate(() => {
    const node = window.app.graph.nodes.find((each) => each.type === "DenseFace_TinyPortrait");
    node.pos = [node.pos[0] + 10, node.pos[1]];
    window.app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
  });
  await page.keyboard.press("Control+z");
  await page.waitForTimeout(2000); // a step of undo loads the graph anew
  report.undone = await results();
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
}

async function freshGraph() {
  return page.evaluate((described) => {
    window.app.graph.clear();
    const made = {};
    const bottom = [0, 0, 0, 0, 0];
    for (const [name, type, widgets, inputs, column] of described) {
      const node = window.LiteGraph.createNode(type);
      node.pos = [column * 500, bottom[column]];
      bottom[column] += node.size[1] + (/Portrait|Preview|Angles/.test(type) ? 280 : 70);
      window.app.graph.add(node);
      made[name] = node;
      for (const [key, value] of Object.entries(widgets)) {
        node.widgets.find((each) => each.name === key).value = value;
      }
      for (const [input, source] of Object.entries(inputs)) {
        const [from, output] = source.split(".");
        const slot = output ? made[from].findOutputSlot(output) : 0;
        made[from].connect(slot, node, input);
      }
    }
    const graph = window.app.graph.serialize();
    graph.extra = { ds: { scale: 0.6, offset: [40, 80] } };
    const ids = Object.fromEntries(Object.entries(made).map(([name, node]) => [name, node.id]));
    return { graph, ids };
  }, NODES);
}

/** Of each type of link: the colours around the middles of its links. */
async function links() {
  return page.evaluate(() => {
    const { canvas } = window.app;
    canvas.draw(true, true);
    const hex = (value) => value.toString(16).padStart(2, "0");
    const seen = {};
    for (const link of window.app.graph.links.values()) {
      if (!link._pos) continue;
      const [x, y] = canvas.ds.convertOffsetToCanvas([...link._pos]).map((at) => at * devicePixelRatio);
      const { data } = canvas.canvas.getContext("2d").getImageData(x - 10, y - 10, 20, 20);
      const colours = (seen[link.type] ??= new Set());
      for (let at = 0; at < data.length; at += 4) {
        colours.add(`#${[...data.slice(at, at + 3)].map(hex).join("")}`);
      }
    }
    return Object.fromEntries(Object.entries(seen).map(([type, found]) => [type, [...found]]));
  });
}

/** Of each node in the rendering by Vue: the colours of its sockets. */
async function dots() {
  return page.evaluate(() =>
    Object.fromEntries(
      [...document.querySelectorAll("[data-node-id]")].map((node) => [
        node.dataset.nodeId,
        [...node.querySelectorAll("[data-testid=slot-dot]")].map(
          (dot) => getComputedStyle(dot).backgroundColor,
        ),
      ]),
    ),
  );
}

/** Where the line between before and after stands, after it was dragged to three quarters. */
async function compared() {
  const images = page.locator(".dense-face-compare");
  const { x, y, width, height } = await images.boundingBox();
  await page.mouse.move(x + width / 2, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + 0.75 * width, y + height / 2, { steps: 4 });
  await page.mouse.up();
  return images.evaluate((each) => ({
    at: parseFloat(each.style.getPropertyValue("--at")),
    widths: [...each.querySelectorAll("img")].map((image) => image.naturalWidth),
    nodes: window.app.graph.nodes.map((node) => [...node.pos]),
  }));
}

/** What the controls of all Measure nodes say, from left to right and top to bottom. */
async function results() {
  return page.locator(".dense-face-control:has(.dense-face-bar)").evaluateAll((all) =>
    all.map((each) => ({
      text: each.querySelector(".dense-face-hint").textContent,
      bars: [...each.querySelectorAll("[role=meter]")].map((meter) => ({
        name: meter.ariaLabel,
        value: Number(meter.ariaValueNow),
        width: meter.querySelector(".fill").getBoundingClientRect().width / meter.getBoundingClientRect().width,
        mark: meter.querySelector(".mark")?.style.left ?? null,
      })),
    })),
  );
}
