/** How long nobody types before the text is measured. */
const pause = 500; // milliseconds

/**
 * Shows how long the message of a text becomes, and what is wrong with it, while somebody
 * types. The server at `src` measures it: it alone knows the rules.
 */
export class TextSize extends HTMLElement {
  #timer = 0;
  #asked = 0;

  connectedCallback(): void {
    const form = this.closest("form");
    if (!form) return;
    form.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => void this.#ask(form), pause);
    });
    if (this.querySelector("textarea")?.value) void this.#ask(form);
  }

  disconnectedCallback(): void {
    clearTimeout(this.#timer);
  }

  async #ask(form: HTMLFormElement): Promise<void> {
    const turn = ++this.#asked;
    const fields = new URLSearchParams();
    for (const name of ["label", "language", "body"]) fields.set(name, String(new FormData(form).get(name) ?? ""));
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { method: "POST", body: fields, headers: { Accept: "application/json" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const measured = (await answer.json()) as { size: string; sample: string; faults: string[] };
      if (turn !== this.#asked) return; // somebody has typed on
      this.#show("size", measured.size);
      this.#show("sample", measured.sample);
      this.#show("faults", measured.faults.join(" "));
      const sample = this.querySelector<HTMLElement>("figure");
      if (sample) sample.hidden = measured.sample === "";
    } catch {
      if (turn === this.#asked) this.#show("size", this.dataset["failed"] ?? "");
    }
  }

  #show(name: string, text: string): void {
    const place = this.querySelector<HTMLElement>(`[data-show="${name}"]`);
    if (!place) return;
    if (place.textContent !== text) place.textContent = text;
    if (name === "faults") place.hidden = text === "";
  }
}
