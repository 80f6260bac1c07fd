/** What iOS offers to the pages in its own sheets. */
interface Sheet {
  webkit?: { messageHandlers?: { progressObserver?: { postMessage(message: unknown): void } } };
}

/** Tells iOS that the report was made, so that it closes the sheet with the page. */
export class ReportSent extends HTMLElement {
  connectedCallback(): void {
    (window as Sheet).webkit?.messageHandlers?.progressObserver?.postMessage({ userDidSubmit: true });
  }
}
