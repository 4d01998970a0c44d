// Opens one workflow in the real ComfyUI frontend and reports what a person would meet.
//
//   node open_workflow.mjs --url URL --workflow FILE [--run] [--screenshot FILE]
//                          [--chromium PATH] [--seconds N]
//
// Prints one JSON object: { missing, nodes, errors, blocked, api, run }.
//   missing  types of nodes that the frontend does not know
//   nodes    [{ id, type, title, widgets: [{ name, type, value, tooltip }] }]
//   errors   console errors and uncaught exceptions of the page
//   blocked  requests to other machines (all are refused; a pack must not cause any)
//   api      the graph in API form, as the frontend would queue it
//   run      with --run: { status, messages, outputs } of the run's history entry

import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { loadGraph, openFrontend } from "./frontend.mjs";

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    workflow: { type: "string" },
    run: { type: "boolean", default: false },
    screenshot: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    seconds: { type: "string", default: "240" },
  },
});
const deadline = Date.now() + 1000 * Number(options.seconds);

const { page, errors, blocked, close } = await openFrontend(
  options.url,
  options.chromium,
  deadline,
);

try {
  const workflow = JSON.parse(await readFile(options.workflow, "utf8"));
  await loadGraph(page, workflow, deadline);

  const report = await page.evaluate(async () => {
    const known = window.LiteGraph.registered_node_types;
    const nodes = window.app.graph.nodes;
    // What the frontend shows on hovering; a widget that a script added may bring its own.
    const tooltip = (node, widget) => {
      const { required = {}, optional = {} } = node.constructor.nodeData?.input ?? {};
      const described = required[widget.name] ?? optional[widget.name];
      return widget.tooltip || described?.[1]?.tooltip || "";
    };
    return {
      missing: nodes.map((node) => node.type).filter((type) => !(type in known)),
      nodes: nodes.map((node) => ({
        id: node.id,
        type: node.type,
        title: node.title,
        widgets: (node.widgets || []).map((widget) => ({
          name: widget.name,
          value: widget.value,
          type: widget.type,
          tooltip: tooltip(node, widget),
        })),
      })),
      api: (await window.app.graphToPrompt()).output,
    };
  });

  if (options.run) {
    const before = new Set(Object.keys(await history()));
    await page.evaluate(() => window.app.queuePrompt(0, 1));
    report.run = await finished(before);
  }
  if (options.screenshot) {
    await page.keyboard.press("Escape"); // the dialog of a first visit may come late
    // An "unknown command" on another frontend only costs the fitted view.
    await page
      .evaluate(() => window.app.extensionManager.command.execute("Comfy.Canvas.FitView"))
      .catch(() => {});
    await page.waitForTimeout(1500); // previews are drawn after the run's last message
    await page.screenshot({ path: options.screenshot });
  }
  process.stdout.write(JSON.stringify({ ...report, errors, blocked }));
} finally {
  await close();
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
