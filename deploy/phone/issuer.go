package phone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Issuer is a health authority's own system, as far as a simulation needs one.
type Issuer struct {
	// Base ends in a slash; api/issue follows.
	Base string
	// AdminKey is an API key of kind admin.
	AdminKey string
	// HTTP makes the requests; nil is a client with a time limit of its own.
	HTTP *http.Client
}

// Code is an issued code. It prints as its UUID alone.
type Code struct {
	UUID string `json:"uuid"`
	Code string `json:"code"`
}

// Format hides the code from every verb of package fmt.
func (c Code) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[code "+c.UUID+"]") }

func (i Issuer) call(step, path string) call {
	return call{client: client(i.HTTP), step: step, url: i.Base + path, apiKey: i.AdminKey}
}

// Issue issues a code for a test type, with symptoms since a day (verification
// protocol §4).
func (i Issuer) Issue(ctx context.Context, testType string, onset time.Time) (Code, error) {
	var c Code
	err := i.call("issue", "api/issue").post(ctx, map[string]any{
		"testType": testType, "symptomDate": onset.UTC().Format(time.DateOnly), "tzOffset": 0, "padding": padding(),
	}, &c)
	if err == nil && c.Code == "" {
		err = errors.New("issue: the answer has no code")
	}
	return c, err
}

// Claimed asks whether a code was used.
func (i Issuer) Claimed(ctx context.Context, uuid string) (bool, error) {
	var answer struct {
		Claimed bool `json:"claimed"`
	}
	err := i.call("code status", "api/checkcodestatus").post(ctx, map[string]any{"uuid": uuid, "padding": padding()}, &answer)
	return answer.Claimed, err
}
