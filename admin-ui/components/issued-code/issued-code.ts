/** A code that nobody looks at is hidden: at once in another tab, later in another window. */
const unattended = 60_000; // milliseconds
/** Whoever leaves the desk forgets it: a code is hidden so long after it was shown. */
const forgotten = 5 * 60_000;

/** Shows a code: copies it, hides it when nobody looks, removes it when it is over. */
export class IssuedCode extends HTMLElement {
  #timer = 0;
  #forgotten = 0;
  #hidden = false;

  connectedCallback(): void {
    this.#one("[data-buttons]").hidden = false;
    this.#one("[data-copy]").addEventListener("click", () => void this.#copy());
    this.#one("[data-toggle]").addEventListener("click", () => this.#hide(!this.#hidden));
    this.addEventListener("over", () => this.#remove());
    document.addEventListener("visibilitychange", this.#seen);
    addEventListener("blur", this.#left);
    addEventListener("focus", this.#back);
    this.#hide(false);
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.#seen);
    removeEventListener("blur", this.#left);
    removeEventListener("focus", this.#back);
    clearTimeout(this.#timer);
    clearTimeout(this.#forgotten);
  }

  #seen = (): void => {
    if (document.visibilityState === "hidden") this.#hide(true);
  };

  #left = (): void => {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#hide(true), unattended);
  };

  #back = (): void => clearTimeout(this.#timer);

  #one(selector: string): HTMLElement {
    const found = this.querySelector<HTMLElement>(selector);
    if (!found) throw new Error(`no ${selector} in a code`);
    return found;
  }

  #hide(hidden: boolean): void {
    clearTimeout(this.#forgotten);
    if (!hidden) this.#forgotten = window.setTimeout(() => this.#hide(true), forgotten);
    const button = this.#one("[data-toggle]");
    if (hidden !== this.#hidden) {
      const other = button.dataset["show"] ?? "";
      button.dataset["show"] = button.textContent ?? "";
      button.textContent = other;
    }
    this.#hidden = hidden;
    for (const secret of this.querySelectorAll<HTMLElement>("[data-secret]")) secret.hidden = hidden;
    this.#one("[data-instead]").hidden = !hidden;
  }

  async #copy(): Promise<void> {
    const { copy = "", done = "", failed = "" } = this.#one("[data-copy]").dataset;
    const voice = this.#one("[data-voice]");
    try {
      await navigator.clipboard.writeText(copy);
      voice.textContent = done;
    } catch {
      voice.textContent = failed;
    }
  }

  #remove(): void {
    clearTimeout(this.#forgotten);
    for (const secret of this.querySelectorAll("[data-secret], [data-buttons], [data-instead]")) secret.remove();
    this.toggleAttribute("over", true);
  }
}
