"""Account pages in Debian's Chromium, with a virtual passkey."""

# ruff: noqa: F401, F811 (the fixture is imported)

from importlib.resources import files

from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions

from analytics.tests.test_browser import (
    browser,
    complaints_of,
    log_in,
    open_page,
    pytestmark,
    width,
)

PAGES = [
    "account/",
    "account/mail/",
    "account/password/",
    "account/second-factor/",
    "account/second-factor/totp/activate/",
    "account/sessions/",
]


def button(browser, text):
    xpath = f"//button[normalize-space()='{text}'] | //a[normalize-space()='{text}']"
    return browser.find_element(By.XPATH, xpath)


def confirm(browser):
    browser.find_element(By.NAME, "password").send_keys("pass")
    open_page(browser, button(browser, "Confirm"))


def test_account_pages_fit_phones_and_axe_finds_nothing(
    browser, live_server, charlie, warehouse, sent_tasks
):
    axe = (files("axe_core_python") / "axe.min.js").read_text()
    found = {}
    for page in ("login/", "account/forgotten/"):
        browser.get(f"{live_server.url}/{page}")
        found[page] = complaints_of(browser, axe)
    log_in(browser, live_server, "charlie")
    width(browser, 390)
    for page in PAGES:
        browser.get(f"{live_server.url}/{page}")
        if "/confirm/" in browser.current_url:
            confirm(browser)
        found[page] = complaints_of(browser, axe)
        root = "document.documentElement"
        script = f"return {root}.scrollWidth - {root}.clientWidth"
        assert browser.execute_script(script) <= 0, page
    assert {page: complaints for page, complaints in found.items() if complaints} == {}


def test_a_passkey_is_a_second_factor_and_a_login_of_its_own(
    browser, live_server, charlie, warehouse, sent_tasks
):
    key = VirtualAuthenticatorOptions()
    key.protocol, key.transport = "ctap2", "internal"
    key.has_resident_key = key.has_user_verification = key.is_user_verified = True
    browser.add_virtual_authenticator(key)
    log_in(browser, live_server, "charlie")
    browser.get(f"{live_server.url}/account/second-factor/")
    open_page(browser, button(browser, "Add a passkey"))
    confirm(browser)
    open_page(browser, button(browser, "Add passkey"))
    assert len(browser.find_elements(By.CSS_SELECTOR, ".codes li")) == 10
    open_page(browser, button(browser, "Log out"))
    log_in(browser, live_server, "charlie")
    assert "Second factor" in browser.title
    open_page(browser, button(browser, "Use a passkey instead"))
    browser.get(f"{live_server.url}/account/sessions/")
    assert browser.find_element(By.CSS_SELECTOR, ".sessions p").text == "Chrome on Linux"
    open_page(browser, button(browser, "Log out"))
    open_page(browser, button(browser, "Log in with a passkey"))
    browser.get(f"{live_server.url}/account/")
    assert "Profile" in browser.title
