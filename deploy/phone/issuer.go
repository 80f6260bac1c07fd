package phone

import (
	"context"
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

// Code is an issued code.
type Code struct {
	UUID string `json:"uuid"`
	Code string `json:"code"`
}

func (i Issuer) client() *http.Client {
	if i.HTTP != nil {
		return i.HTTP
	}
	return defaultClient
}

// Issue issues a code for a test type, with symptoms since a day (verification
// protocol §4).
func (i Issuer) Issue(ctx context.Context, testType string, onset time.Time) (Code, error) {
	var c Code
	err := post(ctx, i.client(), "issue", i.Base+"api/issue", i.AdminKey, map[string]any{
		"testType": testType, "symptomDate": onset.UTC().Format(time.DateOnly), "tzOffset": 0, "padding": padding(),
	}, &c)
	return c, err
}

// Claimed asks whether a code was used.
func (i Issuer) Claimed(ctx context.Context, uuid string) (bool, error) {
	var answer struct {
		Claimed bool `json:"claimed"`
	}
	err := post(ctx, i.client(), "code status", i.Base+"api/checkcodestatus", i.AdminKey, map[string]any{"uuid": uuid}, &answer)
	return answer.Claimed, err
}
