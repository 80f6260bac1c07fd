package importer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxIndex bounds an index, in bytes; the reference's is as large (§10.3).
	maxIndex = 1 << 20
	// maxListed is how many files an index may list: every half hour for a hundred days.
	maxListed = 5000
	maxName   = 300
)

// errIndex means that a text is not an index.
var errIndex = errors.New("not an index of export files")

// nameForms are parts of a file's name: they cannot leave the folder, name another
// host, or be anything to a URL but a part of its path.
var namePart = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$`)

// parseIndex reads the names of an index, in its order (§5.5). One name that could not
// be that of a file makes it none, because then it is something else: a page of errors,
// or an attempt.
func parseIndex(text []byte) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		name := strings.TrimSpace(line)
		if name == "" {
			continue
		}
		if !validName(name) {
			return nil, fmt.Errorf("%w: line %d names no file below the root", errIndex, i+1)
		}
		if len(names) == maxListed {
			return nil, fmt.Errorf("%w: it has more than %d lines", errIndex, maxListed)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

func validName(name string) bool {
	return len(name) <= maxName && !slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return !namePart.MatchString(part) })
}
