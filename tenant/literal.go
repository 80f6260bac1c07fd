package tenant

import (
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"
)

// errArgument means that a value cannot be an argument of a [Statement].
var errArgument = errors.New("no argument of a shared statement")

// appendLiteral appends v as an SQL expression that means just v, as the argument of an
// execute. What stands between its quotes is made of a few harmless characters: numbers
// and times are printed by us, and whatever came from outside is hexadecimal unless it
// has nothing but letters, digits and [plain] signs. So nothing can end a literal early,
// whatever the server's settings are.
func appendLiteral(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return appendInteger(b, int64(v)), nil
	case int64:
		return appendInteger(b, v), nil
	case string:
		return appendText(b, v)
	case []byte:
		return appendBytes(b, v), nil
	case time.Time:
		return appendTime(b, v)
	case pq.ByteaArray:
		return appendByteArray(b, v), nil
	case pq.Int64Array:
		return appendIntegerArray(b, v), nil
	case pq.StringArray:
		return appendTextArray(b, v)
	case driver.Valuer:
		return appendValue(b, v)
	default:
		return nil, fmt.Errorf("%w: %T", errArgument, v)
	}
}

// appendValue appends what a type of its own, such as [ID], stands for. Its text must be
// plain: that of an array is not, and would not be taken for one.
func appendValue(b []byte, v driver.Valuer) ([]byte, error) {
	value, err := v.Value()
	if err != nil {
		return nil, fmt.Errorf("%w: %T: %w", errArgument, v, err)
	}
	_, again := value.(driver.Valuer)
	text, isText := value.(string)
	if again || isText && !isPlain(text) {
		return nil, fmt.Errorf("%w: %T", errArgument, v)
	}
	return appendLiteral(b, value)
}

// appendInteger quotes the number: then it takes the type that is asked for, as what has
// a minus would not without.
func appendInteger(b []byte, n int64) []byte {
	b = append(b, '\'')
	b = strconv.AppendInt(b, n, 10)
	return append(b, '\'')
}

// appendBytes writes E'\\x…', which means the same whether or not the server takes
// backslashes of plain literals for escapes.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, "null"...)
	}
	b = append(b, `E'\\x`...)
	b = hex.AppendEncode(b, v)
	return append(b, '\'')
}

const plain = " .,:_@/+-"

func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte(plain, c) < 0 {
			return false
		}
	}
	return true
}

// appendText refuses what Postgres's text cannot hold.
func appendText(b []byte, s string) ([]byte, error) {
	if isPlain(s) {
		b = append(b, '\'')
		b = append(b, s...)
		return append(b, '\''), nil
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return nil, fmt.Errorf("%w: a text that is not UTF-8 or has a zero byte", errArgument)
	}
	b = append(b, "convert_from("...)
	b = appendBytes(b, []byte(s))
	return append(b, ",'UTF8')"...), nil
}

const literalTime = "2006-01-02 15:04:05.999999-07"

// appendTime cuts to microseconds, as the driver and Postgres do.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	if year := t.Year(); year < 1 || year > 9999 {
		return nil, fmt.Errorf("%w: a time in the year %d", errArgument, year)
	}
	b = append(b, '\'')
	b = t.AppendFormat(b, literalTime)
	return append(b, '\''), nil
}

// appendByteArray writes E'{"\\\\x…",…}': the literal's escapes, then the array's.
func appendByteArray(b []byte, all pq.ByteaArray) []byte {
	if all == nil {
		return append(b, "null"...)
	}
	b = append(b, `E'{`...)
	for i, v := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"\\\\x`...)
		b = hex.AppendEncode(b, v)
		b = append(b, '"')
	}
	return append(b, `}'`...)
}

func appendIntegerArray(b []byte, all pq.Int64Array) []byte {
	if all == nil {
		return append(b, "null"...)
	}
	b = append(b, `'{`...)
	for i, n := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, `}'`...)
}

func appendTextArray(b []byte, all pq.StringArray) ([]byte, error) {
	if all == nil {
		return append(b, "null"...), nil
	}
	b = append(b, "array["...)
	for i, s := range all {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendText(b, s); err != nil {
			return nil, err
		}
	}
	return append(b, "]::text[]"...), nil
}
