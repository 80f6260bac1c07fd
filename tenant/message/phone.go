package message

import (
	"fmt"

	"github.com/nyaruka/phonenumbers"
)

// maxPhone is longer than any spelling of a number; the parser need not see more.
const maxPhone = 250

// ParsePhone reads a telephone number the way people of a country (ISO 3166,
// upper case) write it and returns its E.164 form. The number need not be
// assigned or mobile (verification protocol §4.2, rule 6). [ErrPhone] says what
// is wrong without repeating the number.
func ParsePhone(text, country string) (string, error) {
	if len(text) > maxPhone {
		return "", fmt.Errorf("%w: too long", ErrPhone)
	}
	number, err := phonenumbers.Parse(text, country)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPhone, err)
	}
	return phonenumbers.Format(number, phonenumbers.E164), nil
}
