// The portal's behaviours. Every page works without them.
import { BatchState } from "../components/batch-state/batch-state.js";
import { CodeState } from "../components/code-state/code-state.js";
import { CountDown } from "../components/count-down/count-down.js";
import { IssuedCode } from "../components/issued-code/issued-code.js";
import { MessageText } from "../components/message-text/message-text.js";
import { SendOnce } from "../components/send-once/send-once.js";
import { SessionEnd } from "../components/session-end/session-end.js";
import { ShortCuts } from "../components/short-cuts/short-cuts.js";
import { TextCount } from "../components/text-count/text-count.js";
import { TextSize } from "../components/text-size/text-size.js";
import { TimeZone } from "../components/time-zone/time-zone.js";

// Inner elements are defined last, so that what they send finds a listener.
customElements.define("issued-code", IssuedCode);
customElements.define("count-down", CountDown);
customElements.define("batch-state", BatchState);
customElements.define("code-state", CodeState);
customElements.define("message-text", MessageText);
customElements.define("send-once", SendOnce);
customElements.define("session-end", SessionEnd);
customElements.define("short-cuts", ShortCuts);
customElements.define("text-count", TextCount);
customElements.define("text-size", TextSize);
customElements.define("time-zone", TimeZone);
