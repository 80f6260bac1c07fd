/** How often to ask how a code stands: at first a phone is being waited for. */
const first = 3_000; // milliseconds
const slowest = 30_000;

/**
 * Tells how a code and its message stand, without a reload. It asks the server at `src`
 * until the code is over, less and less often, and not at all while nobody looks. Words
 * that did not change are left alone, so that they are not read out again.
 */
export class CodeState extends HTMLElement {
  #timer = 0;
  #wait = first;
  #over = false;

  connectedCallback(): void {
    document.addEventListener("visibilitychange", this.#seen);
    void this.#ask();
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.#seen);
    clearTimeout(this.#timer);
  }

  #seen = (): void => {
    clearTimeout(this.#timer);
    this.#wait = first;
    if (document.visibilityState === "visible" && !this.#over) void this.#ask();
  };

  async #ask(): Promise<void> {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { headers: { Accept: "application/json" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      this.#tell((await answer.json()) as Record<string, unknown>);
    } catch {
      this.#show("messageAdvice", this.dataset["failed"] ?? "");
    }
    if (this.#over || document.visibilityState !== "visible") return;
    this.#timer = window.setTimeout(() => void this.#ask(), this.#wait);
    this.#wait = Math.min(slowest, this.#wait * 1.25);
  }

  #tell(state: Record<string, unknown>): void {
    for (const name of ["label", "advice", "message", "messageAdvice", "refusal"]) this.#show(name, String(state[name] ?? ""));
    this.#over = state["over"] === true;
    this.hidden = false;
  }

  #show(name: string, text: string): void {
    const place = this.querySelector(`[data-show="${name}"]`);
    if (place && place.textContent !== text) place.textContent = text;
  }
}
