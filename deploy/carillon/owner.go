package main

import (
	"context"
	"time"

	"carillon/tenant"
	"carillon/tenant/member"
)

type tenantMakeOwnerCommand struct {
	operation
	Email  string `arg:"" help:"The member's address."`
	Issuer string `name:"oidc-issuer" required:"" env:"CARILLON_OIDC_ISSUER" help:"Issuer of the identity provider at which she signs in." placeholder:"URL"`
	Reason string `required:"" help:"Why, and how it was checked who asks. It stands in both audit logs." placeholder:"TEXT"`
}

func (c tenantMakeOwnerCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, t *tenant.Tenant) error {
		return member.MakeOwner(ctx, tx, t, operator, c.Issuer, c.Email, c.Reason, time.Now())
	})
}
