package enx

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

var colorForm = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// ParseColor reads #rrggbb as red, green and blue from 0.0 to 1.0.
func ParseColor(text string) (rgb [3]float64, err error) {
	if !colorForm.MatchString(text) {
		return rgb, fmt.Errorf("%.20q is not a color such as #1a4480", text)
	}
	const full = 255
	for i := range rgb {
		part, err := strconv.ParseUint(text[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return rgb, err
		}
		rgb[i] = float64(part) / full
	}
	return rgb, nil
}

// LeastContrast is what a header's text needs to be read by most (WCAG 2.2, 1.4.3).
const LeastContrast = 4.5

// Contrast is the ratio of two colors' luminances, 1 to 21, as WCAG 2.2 defines it.
func Contrast(a, b [3]float64) float64 {
	const flare = 0.05
	light, dark := luminance(a), luminance(b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + flare) / (dark + flare)
}

func luminance(rgb [3]float64) float64 {
	linear := func(c float64) float64 {
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(rgb[0]) + 0.7152*linear(rgb[1]) + 0.0722*linear(rgb[2])
}
