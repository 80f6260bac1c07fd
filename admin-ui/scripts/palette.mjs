// The portal's colors, as custom properties with a value for light and one for dark
// surroundings. The design system's styles have fixed colors; recolor() replaces each
// of them, and fails on one it does not know.

const palette = {
  //           light      dark
  page: ["#f7f9fa", "#10181d"],
  surface: ["#ffffff", "#18232a"],
  ink: ["#1b1b1b", "#e8edf0"],
  "ink-soft": ["#565c65", "#a9b4bb"],
  line: ["#dfe1e2", "#33434d"],
  "line-strong": ["#565c65", "#8d9aa3"],
  link: ["#07648d", "#7cc4e8"],
  "link-hover": ["#074b69", "#a9daf2"],
  "link-active": ["#002d3f", "#d3edfa"],
  button: ["#07648d", "#7cc4e8"],
  "button-hover": ["#074b69", "#a9daf2"],
  "button-active": ["#002d3f", "#d3edfa"],
  "on-button": ["#ffffff", "#0b2836"],
  "chosen-tint": ["#e6f0f5", "#1d3644"],
  danger: ["#b50909", "#ff9d94"],
  "danger-button": ["#b50909", "#ff9d94"],
  "danger-hover": ["#8b0a03", "#ffc0ba"],
  "danger-active": ["#5c1111", "#ffdedb"],
  "on-danger": ["#ffffff", "#3d0a08"],
  bar: ["#002d3f", "#0a2230"],
  "on-bar": ["#ffffff", "#e8edf0"],
  "sandbox-bar": ["#6b3d00", "#4a2f08"],
  "sandbox-page": ["#fdf6e3", "#1c1708"],
  focus: ["#2491ff", "#58b4ff"],
  disabled: ["#c9c9c9", "#3a4952"],
  "on-disabled": ["#454545", "#b9c3c9"],
  "info-tint": ["#e7f6f8", "#10313a"],
  "info-edge": ["#00bde3", "#2fb9d6"],
  "success-tint": ["#ecf3ec", "#14301f"],
  "success-edge": ["#00a91c", "#3fbf5a"],
  "warning-tint": ["#faf3d1", "#3a3011"],
  "warning-edge": ["#ffbe2e", "#e5a91f"],
  "error-tint": ["#f4e3db", "#3f1d17"],
  "error-edge": ["#d54309", "#f0693a"],
  "plot-1": ["#07648d", "#7cc4e8"],
  "plot-2": ["#b50909", "#ff9d94"],
  "plot-3": ["#2e6b34", "#7fd08b"],
  "plot-4": ["#6c3fa0", "#c7a6f0"],
  "plot-5": ["#8a5a00", "#f0c05a"],
  "plot-6": ["#3d4551", "#c3ccd3"],
  "plot-7": ["#a3267a", "#f59ad2"],
};

/** What a color of the design system stands for: as a background, and elsewhere. */
const meanings = {
  white: ["surface", "on-button"],
  black: ["ink", "ink"],
  "#1b1b1b": ["ink", "ink"],
  "#07648d": ["button", "link"],
  "#074b69": ["button-hover", "link-hover"],
  "#002d3f": ["button-active", "link-active"],
  "rgba(7, 100, 141, 0.1)": ["chosen-tint", "chosen-tint"],
  "#f0f0f0": ["info-tint", "info-tint"],
  "#2491ff": ["focus", "focus"],
  "#565c65": ["line-strong", "line-strong"],
  "#71767a": ["ink-soft", "ink-soft"],
  "#757575": ["ink-soft", "ink-soft"],
  "#a9aeb1": ["line", "line"],
  "#dfe1e2": ["line", "line"],
  "#e6e6e6": ["line", "line"],
  "#c9c9c9": ["disabled", "disabled"],
  "#919191": ["disabled", "disabled"],
  "#454545": ["on-disabled", "on-disabled"],
  "#d83933": ["danger-button", "danger-button"],
  "#b50909": ["danger-hover", "danger"],
  "#8b0a03": ["danger-active", "danger-active"],
  "#e7f6f8": ["info-tint", "info-tint"],
  "#00bde3": ["info-edge", "info-edge"],
  "#ecf3ec": ["success-tint", "success-tint"],
  "#00a91c": ["success-edge", "success-edge"],
  "#faf3d1": ["warning-tint", "warning-tint"],
  "#ffbe2e": ["warning-edge", "warning-edge"],
  "#f4e3db": ["error-tint", "error-tint"],
  "#d54309": ["error-edge", "error-edge"],
};

const color = /#[0-9a-f]{3,8}\b|rgba?\([^)]*\)|\b(?:white|black)\b/gi;

/** Replaces the colors in every declaration of a style sheet. */
export function recolor(css) {
  return css.replace(/([-\w]+):([^;{}]*)(?=[;}])/g, (whole, property, value) => {
    if (value.includes("url(")) return whole; // the name of a file
    const place = /^(background|box-shadow)/.test(property) ? 0 : 1;
    return `${property}:${value.replace(color, (found) => {
      const meaning = meanings[found.toLowerCase()];
      if (!meaning) throw new Error(`no meaning for the color ${found} of ${property}`);
      return `var(--${meaning[place]})`;
    })}`;
  });
}

/** Declares the palette. Paper is always light. */
export function properties() {
  const list = (i) => Object.entries(palette).map(([name, values]) => `--${name}:${values[i]}`).join(";");
  return `:root{color-scheme:light dark;${list(0)}}@media screen and (prefers-color-scheme:dark){:root{${list(1)}}}\n`;
}
