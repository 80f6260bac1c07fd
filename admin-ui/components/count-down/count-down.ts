const minute = 60;
/** When to speak up, in seconds before the end. Every second would be noise. */
const announced = [5 * minute, minute];

/**
 * Counts down to `until`. `now` is the server's clock when it answered: the reader's
 * may be wrong. Sends "over" when the time has come.
 */
export class CountDown extends HTMLElement {
  #timer = 0;

  connectedCallback(): void {
    const until = Date.parse(this.getAttribute("until") ?? "");
    const now = Date.parse(this.getAttribute("now") ?? "");
    const shown = this.querySelector("span");
    if (!shown || Number.isNaN(until) || Number.isNaN(now)) return;
    const end = performance.now() + until - now;
    const voice = document.createElement("span");
    voice.className = "sr-only";
    voice.setAttribute("role", "status");
    this.append(voice);
    let before = Infinity;
    const tick = (): void => {
      const left = Math.max(0, Math.round((end - performance.now()) / 1000));
      this.#show(shown, left);
      const mark = announced.find((at) => before > at && left <= at && before !== Infinity);
      if (mark && left > 0) voice.textContent = this.#text("soon", String(mark / minute));
      before = left;
      if (left === 0) this.#over(voice);
    };
    tick();
    if (before > 0) this.#timer = window.setInterval(tick, 1000);
  }

  disconnectedCallback(): void {
    clearInterval(this.#timer);
  }

  #show(element: HTMLElement, left: number): void {
    const clock = `${Math.floor(left / minute)}:${String(left % minute).padStart(2, "0")}`;
    element.textContent = left > 0 ? this.#text("left", clock) : this.#text("over", "");
    this.toggleAttribute("soon", left <= minute);
  }

  #over(voice: HTMLElement): void {
    clearInterval(this.#timer);
    voice.textContent = this.#text("over", "");
    this.dispatchEvent(new CustomEvent("over", { bubbles: true }));
  }

  #text(name: string, value: string): string {
    return (this.dataset[name] ?? "").replace("{n}", value);
  }
}
