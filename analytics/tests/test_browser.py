"""The main flow as a person has it, in Debian's Chromium, with nothing reported on its console."""

import shutil
from datetime import timedelta

import pytest
from django.utils import timezone
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from analytics.tests.versions import company, log_load, ticket
from loaders import tasks

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="Debian's chromium and chromium-driver are not installed",
    ),
]
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def browser(tmp_path, live_server):
    options = webdriver.ChromeOptions()
    for option in [*OPTIONS, f"--user-data-dir={tmp_path}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.implicitly_wait(10)
    yield driver
    complaints = driver.get_log("browser")
    driver.quit()
    assert complaints == []


def width(browser, pixels):
    size = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": pixels < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def log_in(browser, live_server, name, path="/login/"):
    browser.get(live_server.url + path)
    browser.find_element(By.NAME, "username").send_keys(name)
    browser.find_element(By.NAME, "password").send_keys("pass")
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()


@pytest.fixture
def filled(acme, warehouse, put_rows):
    put_rows(acme, "companies", [company("1", is_active=True), company("2", is_active=False)])
    then = (timezone.now() - timedelta(days=1)).isoformat()
    put_rows(acme, "tickets", [ticket("1", created_date=then, closed_date=then, actual_hours=2)])
    for table in ("companies", "tickets"):
        log_load(warehouse, acme, table)


@pytest.mark.parametrize("pixels", [1440, 390])
def test_a_member_logs_in_sees_charts_and_changes_the_period(
    browser, live_server, alice, filled, pixels
):
    width(browser, pixels)
    log_in(browser, live_server, "alice")
    drawn = (By.CSS_SELECTOR, "[data-drawn=true] canvas")
    WebDriverWait(browser, 20).until(lambda found: len(found.find_elements(*drawn)) == 3)
    assert browser.find_element(By.CSS_SELECTOR, ".figure").text == "2"
    inks = browser.execute_script(
        "return [...document.querySelectorAll('canvas')].map(c => new Set(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data).size)"
    )
    assert min(inks) > 10, "a chart is blank"
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    assert browser.execute_script(overflow) <= 0

    browser.find_element(By.LINK_TEXT, "7 days").click()
    WebDriverWait(browser, 20).until(lambda found: "last-7-days" in found.current_url)
    WebDriverWait(browser, 20).until(lambda found: len(found.find_elements(*drawn)) == 3)
    browser.find_element(By.CSS_SELECTOR, "#ticket-counts-heading ~ .figures summary").click()
    rows = browser.find_elements(By.CSS_SELECTOR, "#ticket-counts-heading ~ .figures tbody tr")
    assert len(rows) == 7
    browser.find_element(By.CSS_SELECTOR, ".account button").click()
    assert browser.find_element(By.NAME, "password")


def test_the_pointer_is_told_the_figures_of_its_day(browser, live_server, alice, filled):
    log_in(browser, live_server, "alice")
    drawing = browser.find_element(By.CSS_SELECTOR, "[data-spec=ticket-counts][data-drawn=true]")
    right = drawing.size["width"] // 2 - 30
    for x in (right, right - 12, right - 24):
        ActionChains(browser).move_to_element_with_offset(drawing, x, 40).perform()
        told = browser.find_element(By.CSS_SELECTOR, "#vg-tooltip-element.visible").text
        assert "Opened" in told
    box = browser.execute_script(
        "const {left, top} = document.querySelector('#vg-tooltip-element').getBoundingClientRect();"
        "return [left, top]"
    )
    assert min(box) > 50, "it stands in the corner of the page, not at the pointer"


def test_without_javascript_the_figures_are_in_tables(browser, live_server, alice, filled):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    log_in(browser, live_server, "alice")
    assert browser.find_element(By.CSS_SELECTOR, ".figure").text == "2"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".figures table")) == 3


def test_staff_start_a_load_and_see_it_queued(
    browser, live_server, dora, acme, warehouse, monkeypatch
):
    monkeypatch.setattr(tasks.run_load_job, "delay", lambda job_id: None)
    width(browser, 1440)
    log_in(browser, live_server, "dora", "/admin/login/?next=/admin/loaders/loadjob/start/")
    browser.find_element(By.CSS_SELECTOR, f"input[value={acme.id}]").click()
    for box in browser.find_elements(By.CSS_SELECTOR, "input[name=tables]:checked")[1:]:
        box.click()
    browser.find_element(
        By.CSS_SELECTOR, "main button[type=submit], #main button[type=submit]"
    ).click()
    table = browser.find_element(By.ID, "result_list")
    assert "companies" in table.text
    assert "QUEUED" in table.text.upper()
