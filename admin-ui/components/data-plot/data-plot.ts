import uPlot from "uplot";

const height = 260; // pixels
const colors = ["--plot-1", "--plot-2", "--plot-3", "--plot-4", "--plot-5", "--plot-6", "--plot-7"];
/** Lines differ in more than their color. */
const dashes = [[], [8, 4], [2, 3], [12, 4, 2, 4], [5, 5], [1, 5], [14, 3]];

/**
 * Draws the numbers of the table inside it, as lines over days or as bars. The table stays
 * for whoever does not see the picture, or wants a number.
 */
export class DataPlot extends HTMLElement {
  #plot: uPlot | undefined;
  #watch = new ResizeObserver(() => this.#plot?.setSize({ width: this.#width(), height }));
  #dark = matchMedia("(prefers-color-scheme: dark)");

  connectedCallback(): void {
    this.#draw();
    this.#watch.observe(this);
    this.#dark.addEventListener("change", this.#draw);
  }

  disconnectedCallback(): void {
    this.#watch.disconnect();
    this.#dark.removeEventListener("change", this.#draw);
    this.#plot?.destroy();
  }

  #width(): number {
    return Math.max(200, Math.floor(this.clientWidth));
  }

  #draw = (): void => {
    this.#plot?.destroy();
    for (const old of this.querySelectorAll(".plot__picture, .plot__keys")) old.remove();
    const table = this.querySelector("table");
    if (!table) return;
    const names = [...table.querySelectorAll("thead th")].slice(1).map((th) => th.textContent ?? "");
    const rows = [...table.querySelectorAll("tbody tr")];
    const labels = rows.map((row) => row.querySelector("th")?.textContent ?? "");
    const values = names.map((_, i) => rows.map((row) => Number(row.querySelectorAll("td")[i]?.textContent)));
    const picture = document.createElement("div");
    picture.className = "plot__picture";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", this.getAttribute("label") ?? "");
    this.prepend(picture, this.#keys(names));
    this.#plot = new uPlot(this.#options(names, labels), [labels.map((_, i) => i), ...values], picture);
  };

  #options(names: string[], labels: string[]): uPlot.Options {
    const bars = this.getAttribute("kind") === "bars";
    const ink = this.#color("--ink-soft");
    const widest = Math.max(...labels.map((label) => label.length)); // characters
    const grid = { stroke: this.#color("--line"), width: 1 };
    return {
      width: this.#width(),
      height,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [-0.5, labels.length - 0.5] }, y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.05)] } },
      axes: [
        { stroke: ink, grid: { show: false }, space: 16 + 7 * widest, incrs: [1, 2, 4, 7, 14], values: (_u, at) => at.map((i) => labels[i] ?? "") },
        { stroke: ink, grid, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] },
      ],
      series: [{}, ...names.map((label, i) => this.#series(label, i, bars))],
    };
  }

  #series(label: string, i: number, bars: boolean): uPlot.Series {
    const stroke = this.#color(colors[i % colors.length] ?? "");
    if (!bars) return { label, stroke, width: 2, dash: dashes[i % dashes.length] ?? [], points: { show: true, size: 6, fill: stroke } };
    const paths = uPlot.paths.bars?.({ size: [0.7, 60] });
    return { label, stroke, fill: stroke, ...(paths ? { paths } : {}), points: { show: false } };
  }

  #keys(names: string[]): HTMLElement {
    const list = document.createElement("ul");
    list.className = "plot__keys";
    list.setAttribute("aria-hidden", "true"); // the table says it
    list.hidden = names.length < 2;
    names.forEach((name, i) => {
      const item = document.createElement("li");
      item.className = `plot__key plot__key--${i + 1}`;
      item.textContent = name;
      list.append(item);
    });
    return list;
  }

  #color(name: string): string {
    return getComputedStyle(this).getPropertyValue(name).trim();
  }
}
