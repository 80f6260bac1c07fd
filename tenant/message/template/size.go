package template

import "unicode/utf16"

// Encoding is how a text travels to phones.
type Encoding string

// The encodings. One character outside the first makes the whole message the second.
const (
	GSM7 Encoding = "GSM-7"
	UCS2 Encoding = "UCS-2"
)

// Size is what a message costs: providers charge for segments.
type Size struct {
	Encoding Encoding
	// Units are 7-bit or 16-bit characters; some take two.
	Units    int
	Segments int
}

// The characters of GSM 03.38: those of one unit, and those of two, which follow an
// escape.
const (
	gsmBasic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "\f^{}\\[~]|€"
)

// Units of a message that is alone, and of each part of one that is not.
const (
	gsmSingle, gsmPart   = 160, 153
	ucs2Single, ucs2Part = 70, 67
)

// SizeOf measures a text.
func SizeOf(text string) Size {
	if widths, ok := gsmWidths(text); ok {
		return sizeOf(GSM7, widths, gsmSingle, gsmPart)
	}
	var widths []int
	for _, r := range text {
		widths = append(widths, max(1, utf16.RuneLen(r)))
	}
	return sizeOf(UCS2, widths, ucs2Single, ucs2Part)
}

func gsmWidths(text string) ([]int, bool) {
	width := map[rune]int{}
	for _, r := range gsmBasic {
		width[r] = 1
	}
	for _, r := range gsmExtended {
		width[r] = 2
	}
	var widths []int
	for _, r := range text {
		if width[r] == 0 {
			return nil, false
		}
		widths = append(widths, width[r])
	}
	return widths, true
}

// sizeOf fills segments; a character of two units is not split between them.
func sizeOf(e Encoding, widths []int, single, part int) Size {
	s := Size{Encoding: e, Segments: 1}
	filled := 0
	for _, w := range widths {
		s.Units += w
		if filled+w > part {
			s.Segments++
			filled = 0
		}
		filled += w
	}
	if s.Units <= single {
		s.Segments = 1
	}
	return s
}
