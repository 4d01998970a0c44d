// Opens one workflow in the real ComfyUI frontend and reports what a person would meet.
//
//   node open_workflow.mjs --url URL --workflow FILE [--run [--again]] [--screenshot FILE]
//                          [--rendering classic|vue] [--chromium PATH] [--seconds N]
//
// Prints one JSON object: { missing, nodes, scale, covered, errors, blocked, api, run, shown }.
//   missing  types of nodes that the frontend does not know, in subgraphs, too
//   nodes    [{ id, type, title, box, widgets: [{ name, type, value, tooltip }] }] of the opened
//            graph; box: left, top, right, bottom in pixels of the window
//   scale    of the opened graph; 1 shows letters at their own size
//   covered  boxes in the same pixels of what the frontend shows over the graph: bars, menus, map
//   errors   console errors and uncaught exceptions of the page
//   blocked  requests to other machines (all are refused; a pack must not cause any)
//   api      the graph in API form, as the frontend would queue it
//   run      with --run: { status, messages, outputs } of the run's history entry
//   shown    with --run: { id: [[width, height]] } of the images that a node shows, in pixels
//   again    with --again: the same after the page was opened anew and the graph, of which the
//            server keeps all results, was run again

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    workflow: { type: "string" },
    run: { type: "boolean", default: false },
    again: { type: "boolean", default: false },
    rendering: { type: "string", default: "classic" },
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    seconds: { type: "string", default: "240" },
  },
});
const deadline = Date.now() + 1000 * Number(options.seconds);
const SCREEN = { width: 1440, height: 900 };
const BARS = [".actionbar-container", ".side-bar-panel", ".minimap-main-container", ".side-tool-bar-container"];

const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
  { viewport: SCREEN },
);

try {
  const workflow = JSON.parse(await readFile(options.workflow, "utf8"));
  await page.evaluate(
    (vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue),
    options.rendering === "vue",
  );
  await loadGraph(page, workflow, deadline);
  await page.waitForTimeout(1500); // the view of the opened graph and its controls

  const report = await page.evaluate(async (bars) => {
    const known = window.LiteGraph.registered_node_types;
    const nodes = window.app.graph.nodes;
    const inside = nodes.flatMap((node) => node.subgraph?.nodes ?? []);
    const edges = ({ left, top, right, bottom }) => [left, top, right, bottom];
    const { scale, offset } = window.app.canvas.ds;
    const { left, top } = window.app.canvas.canvas.getBoundingClientRect();
    const box = (node) => {
      const element = document.querySelector(`[data-node-id="${node.id}"]`);
      if (element) return edges(element.getBoundingClientRect());
      const [x, y, width, height] = node.boundingRect;
      const [toX, toY] = [(at) => left + (at + offset[0]) * scale, (at) => top + (at + offset[1]) * scale];
      return [toX(x), toY(y), toX(x + width), toY(y + height)];
    };
    // What the frontend shows on hovering; a widget that a script added may bring its own.
    const tooltip = (node, widget) => {
      const { required = {}, optional = {} } = node.constructor.nodeData?.input ?? {};
      const described = required[widget.name] ?? optional[widget.name];
      return widget.tooltip || described?.[1]?.tooltip || "";
    };
    return {
      missing: [...nodes, ...inside].map((node) => node.type).filter((type) => !(type in known)),
      scale,
      covered: bars.flatMap((bar) =>
        [...document.querySelectorAll(bar)].map((each) => edges(each.getBoundingClientRect())),
      ),
      nodes: nodes.map((node) => ({
        id: node.id,
        type: node.type,
        title: node.title,
        box: box(node),
        widgets: (node.widgets || []).map((widget) => ({
          name: widget.name,
          value: widget.value,
          type: widget.type,
          tooltip: tooltip(node, widget),
        })),
      })),
      api: (await window.app.graphToPrompt()).output,
    };
  }, BARS);

  if (options.run) {
    const before = new Set(Object.keys(await history()));
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    report.run = await finished(before);
    report.shown = await shownOf(report.run.outputs);
  }
  if (options.screenshot) {
    await page.keyboard.press("Escape"); // the dialog of a first visit may come late
    await page.waitForTimeout(500);
    await page.screenshot({ path: options.screenshot });
  }
  if (options.again) {
    await page.reload({ waitUntil: "domcontentloaded" });
    await page.waitForFunction(() => window.app?.graph && window.app.extensionManager);
    await loadGraph(page, workflow, deadline);
    const before = new Set(Object.keys(await history()));
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    await finished(before);
    report.again = await shownOf(report.run.outputs);
  }
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
}

/**
 * As `shown`, once each node that made images shows some, and in their final size: they are drawn, one
 * after the other, after the run's last message. What is missing after 20 seconds is reported as it is.
 */
async function shownOf(outputs) {
  const made = Object.keys(outputs).filter((id) => outputs[id].images?.length);
  const latest = Math.min(deadline, Date.now() + 20_000);
  for (let before = ""; ; ) {
    await page.waitForTimeout(500);
    const sizes = await shown();
    const missing = made.filter((id) => sizes[id] && !sizes[id].length);
    const now = JSON.stringify(sizes);
    if ((!missing.length && now === before) || Date.now() > latest) return sizes;
    before = now;
  }
}

/** Of each node of the opened graph the [width, height] of the images it shows. */
async function shown() {
  return await page.evaluate(() => {
    const { scale } = window.app.canvas.ds;
    const drawn = (node) => (node.hideOutputImages ? [] : node.imgs ?? []);
    const classic = (node) =>
      drawn(node).map(({ naturalWidth, naturalHeight }) => {
        const fits = Math.min(1, node.size[0] / naturalWidth, node.size[1] / naturalHeight);
        return [naturalWidth * fits * scale, naturalHeight * fits * scale];
      });
    // Controls stand in elements of their own, in both renderings.
    const elements = (node) => [
      ...(document.querySelector(`[data-node-id="${node.id}"]`)?.querySelectorAll("img") ?? []),
      ...(node.widgets ?? []).flatMap(({ element }) => [...(element?.querySelectorAll?.("img") ?? [])]),
    ];
    const sizes = (node) =>
      elements(node)
        .filter((image) => image.complete && image.naturalWidth)
        .map((image) => image.getBoundingClientRect())
        .map(({ width, height }) => [width, height]);
    return Object.fromEntries(
      window.app.graph.nodes.map((node) => [node.id, [...classic(node), ...sizes(node)]]),
    );
  });
}

async function history() {
  return (await fetch(`${options.url}/history`)).json();
}

async function finished(before) {
  while (Date.now() < deadline) {
    for (const [id, entry] of Object.entries(await history())) {
      if (!before.has(id)) {
        const { status_str: status, messages } = entry.status;
        return { status, messages, outputs: entry.outputs };
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { status: "timeout", messages: [], outputs: {} };
}
