package apple

import (
	"encoding/json"
	"maps"
	"math"
	"reflect"
	"slices"
)

func differ(want, got map[string]any) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !equal(plain(want[key]), plain(got[key])) {
			keys = append(keys, key)
		}
	}
	return keys
}

// plain is a value as JSON carries it.
func plain(value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return value
	}
	var read any
	if err := json.Unmarshal(text, &read); err != nil {
		return value
	}
	return read
}

func equal(a, b any) bool {
	const near = 0.0011
	switch x := a.(type) {
	case float64:
		y, number := b.(float64)
		return number && math.Abs(x-y) < near
	case []any:
		y, list := b.([]any)
		return list && slices.EqualFunc(x, y, equal)
	}
	return reflect.DeepEqual(a, b)
}
