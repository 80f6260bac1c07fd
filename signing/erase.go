package signing

import (
	"errors"
	"runtime"
)

// erasable returns a copy of a secret in memory which is overwritten when the collector
// finds that nobody has it any more: never while it is used. told hears of that, in tests;
// it may be nil.
func erasable(secret []byte, told func(memory []byte)) ([]byte, error) {
	if len(secret) > maxSecret {
		return nil, errors.New("a secret is too long")
	}
	memory := new([maxSecret]byte)
	copy(memory[:], secret)
	runtime.SetFinalizer(memory, func(m *[maxSecret]byte) {
		clear(m[:])
		if told != nil {
			told(m[:])
		}
	})
	return memory[:len(secret):len(secret)], nil
}
