package enx

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Plist writes a document of maps, lists, texts, numbers and flags as an XML property
// list, which iOS 13.7 and 14.0 want in place of JSON (section 3.3).
func Plist(document map[string]any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n<plist version=\"1.0\">\n")
	if err := plist(&b, document); err != nil {
		return nil, err
	}
	b.WriteString("</plist>\n")
	return b.Bytes(), nil
}

func plist(b *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case map[string]any:
		b.WriteString("<dict>\n")
		for _, name := range slices.Sorted(maps.Keys(v)) {
			element(b, "key", name)
			if err := plist(b, v[name]); err != nil {
				return err
			}
		}
		b.WriteString("</dict>\n")
	case []any:
		b.WriteString("<array>\n")
		for _, each := range v {
			if err := plist(b, each); err != nil {
				return err
			}
		}
		b.WriteString("</array>\n")
	case []float64:
		list := make([]any, len(v))
		for i, each := range v {
			list[i] = each
		}
		return plist(b, list)
	case string:
		element(b, "string", v)
	case bool:
		fmt.Fprintf(b, "<%t/>\n", v)
	case int, int64:
		element(b, "integer", fmt.Sprint(v))
	case float64:
		element(b, "real", strconv.FormatFloat(v, 'f', -1, 64))
	default:
		return fmt.Errorf("a property list has no %T", value)
	}
	return nil
}

func element(b *bytes.Buffer, name, text string) {
	fmt.Fprintf(b, "<%s>", name)
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes all
	fmt.Fprintf(b, "</%s>\n", name)
}
