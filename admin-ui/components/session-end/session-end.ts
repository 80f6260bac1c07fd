const minute = 60_000; // milliseconds
/** How long before the end somebody is asked whether she is still there. */
const notice = 2 * minute;

/**
 * Warns before a session ends that nobody uses, and keeps it if she says so: what was
 * typed stays on the page. `minutes` is how long an idle session lives, `src` a URL whose
 * answer is 200 while it does. Tabs tell each other that the session was used.
 */
export class SessionEnd extends HTMLElement {
  #end = 0;
  #timer = 0;
  readonly #others = new BroadcastChannel("session");

  connectedCallback(): void {
    this.#others.onmessage = (): void => this.#begin();
    this.#part("[data-act=stay]").addEventListener("click", () => void this.#stay());
    this.#part("[data-act=close]").addEventListener("click", () => this.#dialog.close());
    // To leave the dialog by the escape key is to say that one is there.
    this.#dialog.addEventListener("cancel", () => void this.#stay());
    document.addEventListener("visibilitychange", this.#look);
    this.#others.postMessage("used");
    this.#begin();
  }

  disconnectedCallback(): void {
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#look);
    this.#others.close();
  }

  get #dialog(): HTMLDialogElement {
    return this.#part<HTMLDialogElement>("dialog");
  }

  #part<E extends HTMLElement = HTMLElement>(selector: string): E {
    const found = this.querySelector<E>(selector);
    if (!found) throw new Error(`session-end: no ${selector}`);
    return found;
  }

  #begin(): void {
    // By the clock on the wall: a computer that slept has let the session age.
    this.#end = Date.now() + Number(this.getAttribute("minutes")) * minute;
    if (this.#dialog.open) this.#dialog.close();
    this.#look();
  }

  #look = (): void => {
    clearTimeout(this.#timer);
    const left = this.#end - Date.now();
    if (left <= 0) return this.#over();
    if (left <= notice) this.#warn(Math.ceil(left / minute));
    this.#timer = window.setTimeout(this.#look, left > notice ? left - notice : ((left - 1) % minute) + 1);
  };

  #warn(minutes: number): void {
    this.#show("soon");
    const text = (this.dataset["left"] ?? "").replace("{n}", String(minutes));
    const place = this.#part("[role=status]");
    if (place.textContent !== text) place.textContent = text;
  }

  async #stay(): Promise<void> {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      this.#others.postMessage("used");
      this.#begin();
    } catch {
      this.#over();
    }
  }

  #over(): void {
    clearTimeout(this.#timer);
    this.#show("over");
  }

  #show(part: "soon" | "over"): void {
    for (const name of ["soon", "over"]) this.#part(`[data-part=${name}]`).hidden = name !== part;
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
