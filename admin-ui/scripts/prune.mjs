/**
 * Drops the rules of a style sheet that can match nothing, because a selector names
 * a class that is not in `words`, and all typefaces: the portal declares the few that
 * it uses itself. Braces in the sheet stand only around blocks and in strings.
 */
export function prune(css, words) {
  let out = "";
  for (const { head, body } of blocks(css)) {
    if (body === undefined) {
      out += head + ";";
    } else if (/^@(media|supports|layer)\b/.test(head)) {
      const inner = prune(body, words);
      if (inner) out += `${head}{${inner}}`;
    } else if (head === "@font-face") {
      continue;
    } else if (head.startsWith("@")) {
      out += `${head}{${body}}`;
    } else {
      const kept = selectors(head).filter((s) => used(s, words));
      if (kept.length) out += `${kept.join(",")}{${body}}\n`;
    }
  }
  return out;
}

/** A class inside :not() may be missing; any other one must be used somewhere. */
function used(selector, words) {
  const positive = selector.replace(/:not\([^()]*(\([^()]*\))?[^()]*\)/g, "");
  return [...positive.matchAll(/\.([A-Za-z][\w-]*)/g)].every(([, name]) => words.has(name));
}

/** Splits a list of selectors at its commas, but not at those in parentheses. */
function selectors(head) {
  return head.split(/,(?![^(]*\))/).map((s) => s.trim());
}

/** Yields the statements and blocks of one level. */
function* blocks(css) {
  const text = css.replace(/\/\*[\s\S]*?\*\//g, "");
  let start = 0;
  let depth = 0;
  let open = 0;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === "\\") i++;
      else if (c === quote) quote = "";
    } else if (c === '"' || c === "'") quote = c;
    else if (c === "{") {
      if (depth++ === 0) open = i;
    } else if (c === "}" && --depth === 0) {
      yield { head: text.slice(start, open).trim(), body: text.slice(open + 1, i) };
      start = i + 1;
    } else if (c === ";" && depth === 0) {
      yield { head: text.slice(start, i).trim() };
      start = i + 1;
    }
  }
}
