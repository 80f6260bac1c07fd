//go:build !release

package dev

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"carillon/tenant"
	"carillon/tenant/pack"
	packdemo "carillon/tenant/pack/demo"
	"carillon/tenant/pack/enx"
)

// draftPack fills in what Apple and Google would be told of a department, unless somebody
// has begun with it.
func draftPack(ctx context.Context, db *tenant.DB, t *tenant.Tenant, deviceKey string) error {
	c := packdemo.Config(t.Name, deviceKey)
	values := maps.Clone(c.Values)
	values["languages"] = strings.Join(c.Languages, ", ")
	sections := []pack.Section{{Step: enx.Region}}
	for _, step := range enx.Steps()[1:] {
		if step != enx.Texts {
			sections = append(sections, pack.Section{Step: step})
		}
	}
	for _, lang := range c.Languages {
		sections = append(sections, pack.Section{Step: enx.Texts, Language: lang})
	}
	err := db.In(ctx, t.ID, func(tx *tenant.Tx) error {
		for _, s := range sections {
			entered := values
			if s.Step == enx.Texts {
				entered = c.Texts[s.Language]
			}
			if err := pack.Save(ctx, tx, t, demo, s, 0, entered, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, pack.ErrChanged) {
		return nil
	}
	return err
}
