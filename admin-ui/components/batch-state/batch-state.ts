/** How often to ask how far a batch is. */
const pause = 2_000; // milliseconds

/** What the server tells in words, by the place where it stands. */
const names = ["label", "why", "text", "pace", "issued", "failed", "repeats", "left", "stopped"];

/**
 * Tells how far a batch is, without a reload. It asks the server at `src`, and not at all
 * while nobody looks; when the page would offer other things, it is loaded anew. Without a
 * `src` nothing changes any more.
 */
export class BatchState extends HTMLElement {
  #timer = 0;

  connectedCallback(): void {
    if (!this.hasAttribute("src")) return;
    document.addEventListener("visibilitychange", this.#seen);
    this.#wait();
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.#seen);
    clearTimeout(this.#timer);
  }

  #seen = (): void => {
    clearTimeout(this.#timer);
    if (document.visibilityState === "visible") void this.#ask();
  };

  #wait(): void {
    this.#timer = window.setTimeout(() => void this.#ask(), pause);
  }

  async #ask(): Promise<void> {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { headers: { Accept: "application/json" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const state = (await answer.json()) as Record<string, unknown>;
      if (state["phase"] !== this.dataset["phase"]) {
        location.reload();
        return;
      }
      this.#tell(state);
    } catch {
      this.#show("pace", this.dataset["failed"] ?? "");
    }
    if (document.visibilityState === "visible") this.#wait();
  }

  #tell(state: Record<string, unknown>): void {
    for (const name of names) this.#show(name, String(state[name] ?? ""));
    const bar = this.querySelector("progress");
    if (bar) bar.value = Number(state["done"]);
  }

  #show(name: string, text: string): void {
    const place = this.querySelector(`[data-show="${name}"]`);
    if (place && place.textContent !== text) place.textContent = text;
  }
}
