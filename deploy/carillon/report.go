package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/reportpage"
	"carillon/tenant/verification"
)

type tenantPurgePhoneCommand struct {
	operation
	keyOptions
}

func (c tenantPurgePhoneCommand) Run(ctx context.Context) error {
	number, err := readNumber(os.Stdin)
	if err != nil {
		return err
	}
	keys, err := c.open(ctx, false)
	if err != nil {
		return err
	}
	defer keys.Close()
	db, err := openAsOperator(ctx, c.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	t, err := tenant.NewDirectory(db).BySlug(ctx, c.Slug)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Slug, err)
	}
	found, err := verification.Purge(ctx, db, key.NewRing(db, keys.Custody), t, operator, number, time.Now())
	if err != nil {
		return err
	}
	if !found {
		fmt.Println("This number has no self-report here.")
		return nil
	}
	fmt.Println("The number may report again. A code that was not used has ended.")
	return nil
}

var errNoNumber = errors.New("give the telephone number on standard input, in a line of its own: command lines are visible and remembered")

const maxNumber = 250

func readNumber(from io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(from, maxNumber)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read number: %w", err)
	}
	number := strings.TrimSpace(line)
	if number == "" {
		return "", errNoNumber
	}
	return number, nil
}

func openAsOperator(ctx context.Context, database string) (*tenant.DB, error) {
	dsn, err := asRole(database, "carillon_operator")
	if err != nil {
		return nil, err
	}
	return tenant.Open(ctx, tenant.Config{DSN: dsn})
}

type tenantReportPageCommands struct {
	Look tenantReportLookCommand `cmd:"" help:"Set how the hosted page for self-reports looks. What is not given is as Carillon has it."`
	Text tenantReportTextCommand `cmd:"" help:"Set what it says in a language. What is not given is as Carillon has it."`
}

type tenantReportLookCommand struct {
	operation
	Color     string `help:"Background behind the authority's name, #rrggbb." placeholder:"COLOR"`
	Image     string `help:"Picture beside the name, an https URL." placeholder:"URL"`
	LearnMore string `name:"learn-more" help:"Where readers find more, an https URL." placeholder:"URL"`
}

func (c tenantReportLookCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return reportpage.SetLook(ctx, tx, operator, reportpage.Look{Color: c.Color, ImageURL: c.Image, LearnMoreURL: c.LearnMore}, time.Now())
	})
}

type tenantReportTextCommand struct {
	operation
	Language string `arg:"" help:"A tag such as es or es-419. The page speaks English, Spanish and Arabic."`
	Agency   string `help:"The authority's name." placeholder:"TEXT"`
	Intro    string `help:"What stands above the form." placeholder:"TEXT"`
	Date     string `help:"What stands at the date." placeholder:"TEXT"`
	Phone    string `help:"What stands at the telephone number." placeholder:"TEXT"`
	Success  string `help:"What stands on the page after the form." placeholder:"TEXT"`
}

func (c tenantReportTextCommand) Run(ctx context.Context) error {
	return c.in(ctx, func(tx *tenant.Tx, _ *tenant.Tenant) error {
		return reportpage.SetText(ctx, tx, operator, reportpage.Text{
			Language: c.Language, Agency: c.Agency, Intro: c.Intro, Date: c.Date, Phone: c.Phone, Success: c.Success,
		}, time.Now())
	})
}
