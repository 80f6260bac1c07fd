package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/stats"
	"carillon/tenant/tenanttest"
)

// What the operator's role may do suffices for every command about keys.
func TestOperatorsKeepAPIKeys(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	var shown strings.Builder
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		_, k, err := client.Make(t.Context(), tx, operator, client.Admin, client.Terms{Name: "Lab"}, w.Now())
		if err != nil {
			return err
		}
		if _, _, err = client.Rotate(t.Context(), tx, operator, k.ID, 24*time.Hour, time.Time{}, w.Now()); err != nil {
			return err
		}
		if _, err := client.Revoke(t.Context(), tx, operator, k.ID, w.Now()); err != nil {
			return err
		}
		keys, err := client.List(t.Context(), tx, w.Now())
		if err != nil {
			return err
		}
		uses, err := stats.LastUses(t.Context(), tx, w.Now())
		if err != nil {
			return err
		}
		uses[keys[0].ID] = stats.LastUse{Hour: w.Now().UTC().Truncate(time.Hour), Requests: 7}
		return printAPIKeys(&shown, keys, uses, w.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(shown.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "good") || !strings.Contains(lines[1], "h UTC") || !strings.Contains(lines[2], "revoked") {
		t.Errorf("list:\n%s", shown.String())
	}
	if _, err := uuid.Parse(lines[1][strings.LastIndex(lines[1], " ")+1:]); err != nil {
		t.Errorf("the list ends without an ID: %v", err)
	}
}
