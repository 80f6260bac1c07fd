package ceremony

import (
	"bufio"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Console is the terminal at which both participants sit.
type Console struct {
	in    *bufio.Reader
	out   io.Writer
	quiet func() (string, error) // reads a line that the terminal does not show
	// stop ends waiting for a line; restore has the terminal show again what is typed.
	stop    <-chan struct{}
	restore func()
	// rounds are the iterations of PBKDF2 for words that are chosen.
	rounds int
}

// NewConsole talks through in and out. If in is a terminal, secret words are not shown.
func NewConsole(in io.Reader, out io.Writer) *Console {
	c := &Console{in: bufio.NewReader(in), out: out, rounds: iterations, restore: func() {}}
	c.quiet = c.line
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if before, err := term.GetState(int(f.Fd())); err == nil {
			c.restore = func() { _ = term.Restore(int(f.Fd()), before) } // what more could be done?
		}
		c.quiet = func() (string, error) {
			text, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(out)
			return string(text), err
		}
	}
	return c
}

const maxLine = 1000 // bytes

func (c *Console) line() (string, error) {
	var text []byte
	for {
		b, err := c.in.ReadByte()
		switch {
		case err != nil || len(text) > maxLine:
			return "", ErrPaused
		case b == '\n':
			return strings.TrimSuffix(string(text), "\r"), nil
		}
		text = append(text, b)
	}
}

func (c *Console) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

func (c *Console) ask(prompt string) (string, error) {
	fmt.Fprint(c.out, prompt+" ")
	return c.await(c.line)
}

// await reads a line, unless the ceremony is to stop before it has come: [ErrPaused].
// Nothing is read after that.
func (c *Console) await(read func() (string, error)) (string, error) {
	type typed struct {
		text string
		err  error
	}
	got := make(chan typed, 1)
	go func() {
		text, err := read()
		got <- typed{text, err}
	}()
	select {
	case line := <-got:
		return line.text, line.err
	case <-c.stop:
		c.restore()
		fmt.Fprintln(c.out)
		return "", ErrPaused
	}
}

func (c *Console) secret(prompt string) (string, error) {
	fmt.Fprint(c.out, prompt+" ")
	text, err := c.await(c.quiet)
	if err != nil {
		return "", ErrPaused
	}
	return text, nil
}

// abortWord ends a ceremony wherever a secret word is asked for.
const abortWord = "abort"

// errAborted means that somebody has typed it.
var errAborted = errors.New("aborted by a participant")

const (
	minWord = 8 // characters
	tries   = 3
	// iterations are what OWASP's cheat sheet on storing passwords asks of PBKDF2 with
	// HMAC-SHA-256.
	iterations = 600_000
)

// sealedWord is what is kept of a secret word, until the ceremony is over.
type sealedWord struct {
	Salt   []byte `json:"salt"`
	Rounds int    `json:"rounds"`
	Digest []byte `json:"digest"`
}

func sealWord(word string, salt []byte, rounds int) (sealedWord, error) {
	digest, err := pbkdf2.Key(sha256.New, word, salt, rounds, sha256.Size)
	return sealedWord{salt, rounds, digest}, err
}

func (s sealedWord) is(word string) bool {
	other, err := sealWord(word, s.Salt, s.Rounds)
	return err == nil && subtle.ConstantTimeCompare(other.Digest, s.Digest) == 1
}

// enrol has both participants choose a secret word, each without the other looking.
func (c *Console) enrol(people []string) ([]sealedWord, error) {
	var words []sealedWord
	for _, name := range people {
		w, err := c.choose(name, words)
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
	return words, nil
}

func (c *Console) choose(name string, others []sealedWord) (sealedWord, error) {
	for range tries {
		word, err := c.secret(fmt.Sprintf("%s, choose a secret word of %d characters or more, and let nobody see it:", name, minWord))
		if err != nil {
			return sealedWord{}, err
		}
		if len(word) < minWord || word == abortWord {
			c.say("That is too short.")
			continue
		}
		again, err := c.secret(name + ", once more:")
		if err != nil {
			return sealedWord{}, err
		}
		if again != word {
			c.say("These are two different words.")
			continue
		}
		for _, other := range others {
			if other.is(word) {
				return sealedWord{}, ErrSamePerson
			}
		}
		salt := make([]byte, 16)
		rand.Read(salt)
		return sealWord(word, salt, c.rounds)
	}
	return sealedWord{}, ErrWord
}

// confirm has both participants say their words: nothing is done without both.
func (c *Console) confirm(people []string, words []sealedWord) error {
	for i, name := range people {
		if err := c.recognise(name, words[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Console) recognise(name string, word sealedWord) error {
	for range tries {
		text, err := c.secret(fmt.Sprintf("%s, your word confirms it (%q ends the ceremony):", name, abortWord))
		switch {
		case err != nil:
			return err
		case text == abortWord:
			return errAborted
		case word.is(text):
			return nil
		}
		c.say("That is not the word of %s.", name)
	}
	return ErrWord
}
