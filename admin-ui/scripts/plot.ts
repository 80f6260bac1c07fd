// What draws: only pages with plots load it.
import { DataPlot } from "../components/data-plot/data-plot.js";

customElements.define("data-plot", DataPlot);
