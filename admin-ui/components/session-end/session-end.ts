const minute = 60_000; // milliseconds
/** How long before an idle session ends somebody is asked whether she is still there. */
const notice = 2 * minute;
/** How long before the end that nothing puts off somebody is told of it. */
const lastNotice = 10 * minute;

type Part = "soon" | "last" | "over";

/**
 * Warns before a session ends: one that nobody uses, which she can keep, and one that is as
 * old as it may be. What was typed stays on the page. `minutes` is how long an idle session
 * lives, `rest` how many seconds any use can keep it, `src` a URL whose answer is 200 while
 * it lives. Tabs tell each other that the session was used, and how long it can last.
 */
export class SessionEnd extends HTMLElement {
  #end = 0;
  #last = 0;
  #told = false;
  #timer = 0;
  readonly #others = new BroadcastChannel("session");

  connectedCallback(): void {
    this.#last = Date.now() + Number(this.getAttribute("rest")) * 1000;
    this.#others.onmessage = (message: MessageEvent<number>): void => {
      this.#last = message.data;
      this.#begin();
    };
    this.#part("[data-act=stay]").addEventListener("click", () => void this.#stay());
    for (const button of this.querySelectorAll("[data-act=close]")) button.addEventListener("click", () => this.#close());
    this.#dialog.addEventListener("cancel", () => {
      // To leave the question by the escape key is to say that one is there.
      if (this.#part("[data-part=soon]").hidden) this.#told = true;
      else void this.#stay();
    });
    document.addEventListener("visibilitychange", this.#look);
    this.#others.postMessage(this.#last);
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

  #close(): void {
    this.#told = true;
    this.#dialog.close();
  }

  #look = (): void => {
    clearTimeout(this.#timer);
    const idle = this.#end - Date.now();
    const last = this.#last - Date.now();
    if (Math.min(idle, last) <= 0) return this.#over();
    if (idle <= notice && idle < last) this.#warn("soon", idle);
    else if (last <= lastNotice && !this.#told) this.#warn("last", last);
    const next = this.#dialog.open ? ((Math.min(idle, last) - 1) % minute) + 1 : Math.min(idle > notice ? idle - notice : idle, last > lastNotice ? last - lastNotice : last);
    this.#timer = window.setTimeout(this.#look, next);
  };

  #warn(part: Part, left: number): void {
    this.#show(part);
    const text = (this.dataset["left"] ?? "").replace("{n}", String(Math.ceil(left / minute)));
    const place = this.#part(`[data-part=${part}] [role=status]`);
    if (place.textContent !== text) place.textContent = text;
  }

  async #stay(): Promise<void> {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      this.#others.postMessage(this.#last);
      this.#begin();
    } catch {
      this.#over();
    }
  }

  #over(): void {
    clearTimeout(this.#timer);
    this.#show("over");
  }

  #show(shown: Part): void {
    for (const part of this.querySelectorAll<HTMLElement>("[data-part]")) {
      part.hidden = part.dataset["part"] !== shown;
      if (!part.hidden) this.#part("h2").textContent = part.dataset["heading"] ?? "";
    }
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
